package errorpage

var english = Texts{
	Groups: map[Group]Text{
		Unavailable:    {"Temporarily unavailable", "The service cannot answer right now. Nothing is wrong on your side; please try again later."},
		Overloaded:     {"Very busy right now", "More people than usual are using this service. Nothing is wrong on your side; please try again later."},
		Maintenance:    {"Down for maintenance", "We are making some improvements and will be back soon. Thank you for your patience."},
		Timeout:        {"This takes too long", "The service did not answer in time. Nothing is wrong on your side; please try again later."},
		Internal:       {"Something went wrong", "An error on our side keeps this page from being shown."},
		RateLimited:    {"Too many requests", "Many requests came in a short time. Please wait before the next one."},
		NotFound:       {"Nothing is here", "There is no page at this address."},
		RequestTimeout: {"The request took too long", "It did not arrive in time. The connection may be slow; please try once more."},
		TooLarge:       {"The upload is too large", "Please try again with less."},
		BadRequest:     {"The request was not understood", "Something about the request is not as it should be. Please go back and try once more."},
		Refused:        {"This did not work", "The request cannot be answered as it is."},
	},
	Wait: Wait{
		Seconds: Forms{One: "Try again in {n} second.", Other: "Try again in {n} seconds."},
		Minutes: Forms{One: "Try again in {n} minute.", Other: "Try again in {n} minutes."},
		Hours:   Forms{One: "Try again in {n} hour.", Other: "Try again in {n} hours."},
		Days:    Forms{One: "Try again in {n} day.", Other: "Try again in {n} days."},
	},
	Retrying: "This page tries again by itself.",
	GaveUp:   "This page has stopped trying. Please reload it later.",
	Status:   "Status",
	Request:  "Request",
	Support:  "Get help",
}
