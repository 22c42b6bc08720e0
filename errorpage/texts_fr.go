package errorpage

var french = Texts{
	Groups: map[Group]Text{
		Unavailable:    {"Momentanément indisponible", "Le service ne peut pas répondre pour l’instant. Le problème ne vient pas de vous\u202f; merci de réessayer plus tard."},
		Overloaded:     {"Forte affluence en ce moment", "Le service est plus sollicité que d’habitude. Le problème ne vient pas de vous\u202f; merci de réessayer plus tard."},
		Maintenance:    {"Maintenance en cours", "Nous apportons quelques améliorations et serons bientôt de retour. Merci de votre patience."},
		Timeout:        {"La réponse se fait attendre", "Le service n’a pas répondu à temps. Le problème ne vient pas de vous\u202f; merci de réessayer plus tard."},
		Internal:       {"Une erreur est survenue", "Une erreur de notre côté empêche l’affichage de cette page."},
		RateLimited:    {"Trop de demandes", "De nombreuses demandes sont arrivées en peu de temps. Merci de patienter avant la prochaine."},
		NotFound:       {"Page introuvable", "Aucune page ne se trouve à cette adresse."},
		RequestTimeout: {"La demande a pris trop de temps", "Elle n’est pas arrivée à temps. La connexion est peut-être lente\u202f; merci de réessayer."},
		TooLarge:       {"L’envoi est trop volumineux", "Merci de réessayer avec moins de données."},
		BadRequest:     {"La demande n’a pas été comprise", "Quelque chose ne va pas dans la demande. Merci de revenir en arrière et de réessayer."},
		Refused:        {"Cela n’a pas fonctionné", "Il n’est pas possible de répondre à cette demande telle quelle."},
	},
	Wait: Wait{
		Seconds: Forms{One: "Merci de réessayer dans {n}\u00a0seconde.", Other: "Merci de réessayer dans {n}\u00a0secondes."},
		Minutes: Forms{One: "Merci de réessayer dans {n}\u00a0minute.", Other: "Merci de réessayer dans {n}\u00a0minutes."},
		Hours:   Forms{One: "Merci de réessayer dans {n}\u00a0heure.", Other: "Merci de réessayer dans {n}\u00a0heures."},
		Days:    Forms{One: "Merci de réessayer dans {n}\u00a0jour.", Other: "Merci de réessayer dans {n}\u00a0jours."},
	},
	Retrying: "Cette page réessaie automatiquement.",
	GaveUp:   "Cette page ne réessaie plus. Merci de l’actualiser plus tard.",
	Status:   "Code",
	Request:  "Référence",
	Support:  "Obtenir de l’aide",
}
