package errorpage

var spanish = Texts{
	Groups: map[Group]Text{
		Unavailable:    {"No disponible temporalmente", "El servicio no puede responder en este momento. Por su parte, todo está en orden; vuelva a intentarlo más tarde."},
		Overloaded:     {"Hay mucha actividad en este momento", "Más personas de lo habitual están usando el servicio. Por su parte, todo está en orden; vuelva a intentarlo más tarde."},
		Maintenance:    {"En mantenimiento", "Estamos haciendo algunas mejoras y volveremos pronto. Gracias por su paciencia."},
		Timeout:        {"La respuesta está tardando demasiado", "El servicio no respondió a tiempo. Por su parte, todo está en orden; vuelva a intentarlo más tarde."},
		Internal:       {"Algo salió mal", "Un error de nuestro lado impide mostrar esta página."},
		RateLimited:    {"Demasiadas solicitudes", "Llegaron muchas solicitudes en poco tiempo. Espere antes de enviar la siguiente."},
		NotFound:       {"Página no encontrada", "No hay ninguna página en esta dirección."},
		RequestTimeout: {"La solicitud tardó demasiado", "No llegó a tiempo. Es posible que la conexión sea lenta; vuelva a intentarlo."},
		TooLarge:       {"El envío es demasiado grande", "Vuelva a intentarlo con menos datos."},
		BadRequest:     {"No se entendió la solicitud", "Hay algo en la solicitud que no es correcto. Vuelva atrás e inténtelo de nuevo."},
		Refused:        {"No fue posible", "La solicitud no se puede atender tal como está."},
	},
	Wait: Wait{
		Seconds: Forms{One: "Vuelva a intentarlo dentro de {n}\u00a0segundo.", Other: "Vuelva a intentarlo dentro de {n}\u00a0segundos."},
		Minutes: Forms{One: "Vuelva a intentarlo dentro de {n}\u00a0minuto.", Other: "Vuelva a intentarlo dentro de {n}\u00a0minutos."},
		Hours:   Forms{One: "Vuelva a intentarlo dentro de {n}\u00a0hora.", Other: "Vuelva a intentarlo dentro de {n}\u00a0horas."},
		Days:    Forms{One: "Vuelva a intentarlo dentro de {n}\u00a0día.", Other: "Vuelva a intentarlo dentro de {n}\u00a0días."},
	},
	Retrying: "Esta página lo vuelve a intentar automáticamente.",
	GaveUp:   "Esta página ha dejado de intentarlo. Recárguela más tarde.",
	Status:   "Código",
	Request:  "Referencia",
	Support:  "Obtener ayuda",
}
