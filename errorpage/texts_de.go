package errorpage

var german = Texts{
	Groups: map[Group]Text{
		Unavailable:    {"Vorübergehend nicht erreichbar", "Der Dienst kann gerade nicht antworten. Es liegt nicht an Ihnen; bitte versuchen Sie es später noch einmal."},
		Overloaded:     {"Gerade ist viel los", "Im Moment nutzen ungewöhnlich viele Menschen diesen Dienst. Es liegt nicht an Ihnen; bitte versuchen Sie es später noch einmal."},
		Maintenance:    {"Wartungsarbeiten", "Wir arbeiten an Verbesserungen und sind bald wieder für Sie da. Vielen Dank für Ihre Geduld."},
		Timeout:        {"Das dauert zu lange", "Der Dienst hat nicht rechtzeitig geantwortet. Es liegt nicht an Ihnen; bitte versuchen Sie es später noch einmal."},
		Internal:       {"Etwas ist schiefgegangen", "Wegen eines Fehlers auf unserer Seite können wir diese Seite gerade nicht anzeigen."},
		RateLimited:    {"Zu viele Anfragen", "In kurzer Zeit kamen viele Anfragen an. Bitte warten Sie etwas bis zur nächsten."},
		NotFound:       {"Hier ist nichts", "Unter dieser Adresse gibt es keine Seite."},
		RequestTimeout: {"Die Anfrage hat zu lange gedauert", "Sie kam nicht rechtzeitig an. Vielleicht ist die Verbindung langsam; bitte versuchen Sie es noch einmal."},
		TooLarge:       {"Die gesendete Datenmenge ist zu groß", "Bitte versuchen Sie es noch einmal mit weniger Daten."},
		BadRequest:     {"Die Anfrage wurde nicht verstanden", "An der Anfrage stimmt etwas nicht. Bitte gehen Sie zurück und versuchen Sie es noch einmal."},
		Refused:        {"Das hat nicht geklappt", "Die Anfrage lässt sich so nicht beantworten."},
	},
	Wait: Wait{
		Seconds: Forms{One: "Bitte in {n}\u00a0Sekunde noch einmal versuchen.", Other: "Bitte in {n}\u00a0Sekunden noch einmal versuchen."},
		Minutes: Forms{One: "Bitte in {n}\u00a0Minute noch einmal versuchen.", Other: "Bitte in {n}\u00a0Minuten noch einmal versuchen."},
		Hours:   Forms{One: "Bitte in {n}\u00a0Stunde noch einmal versuchen.", Other: "Bitte in {n}\u00a0Stunden noch einmal versuchen."},
		Days:    Forms{One: "Bitte in {n}\u00a0Tag noch einmal versuchen.", Other: "Bitte in {n}\u00a0Tagen noch einmal versuchen."},
	},
	Retrying: "Diese Seite versucht es automatisch noch einmal.",
	GaveUp:   "Diese Seite versucht es nicht mehr automatisch. Bitte laden Sie sie später neu.",
	Status:   "Status",
	Request:  "Referenz",
	Support:  "Hilfe erhalten",
}
