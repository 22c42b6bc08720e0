package errorpage

// portuguese avoids what only Brazil or only Portugal says.
var portuguese = Texts{
	Groups: map[Group]Text{
		Unavailable:    {"Temporariamente indisponível", "O serviço não consegue responder neste momento. Está tudo bem do seu lado; tente novamente mais tarde."},
		Overloaded:     {"Muitas visitas neste momento", "O serviço recebe mais visitas do que o habitual. Está tudo bem do seu lado; tente novamente mais tarde."},
		Maintenance:    {"Em manutenção", "Esta é uma pausa para melhorias; voltamos em breve. Agradecemos a sua paciência."},
		Timeout:        {"A resposta demorou muito", "O serviço não respondeu a tempo. Está tudo bem do seu lado; tente novamente mais tarde."},
		Internal:       {"Ocorreu um erro", "Um erro do nosso lado impede a exibição desta página."},
		RateLimited:    {"Muitas solicitações", "Chegaram muitas solicitações em pouco tempo. Aguarde antes da próxima."},
		NotFound:       {"Página não encontrada", "Não existe nenhuma página neste endereço."},
		RequestTimeout: {"A solicitação demorou muito", "Não chegou a tempo. A rede pode estar lenta; tente mais uma vez."},
		TooLarge:       {"O envio é demasiado grande", "Tente novamente com menos dados."},
		BadRequest:     {"A solicitação não foi compreendida", "Algo na solicitação não está correto. Volte à página anterior e tente mais uma vez."},
		Refused:        {"Não foi possível", "A solicitação não pode ser atendida tal como está."},
	},
	Wait: Wait{
		Seconds: Forms{One: "Tente novamente daqui a {n}\u00a0segundo.", Other: "Tente novamente daqui a {n}\u00a0segundos."},
		Minutes: Forms{One: "Tente novamente daqui a {n}\u00a0minuto.", Other: "Tente novamente daqui a {n}\u00a0minutos."},
		Hours:   Forms{One: "Tente novamente daqui a {n}\u00a0hora.", Other: "Tente novamente daqui a {n}\u00a0horas."},
		Days:    Forms{One: "Tente novamente daqui a {n}\u00a0dia.", Other: "Tente novamente daqui a {n}\u00a0dias."},
	},
	Retrying: "Esta página tenta novamente de forma automática.",
	GaveUp:   "Esta página deixou de tentar. Recarregue-a mais tarde.",
	Status:   "Código",
	Request:  "Referência",
	Support:  "Obter ajuda",
}
