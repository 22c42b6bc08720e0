package errorpage

var chinese = Texts{
	Groups: map[Group]Text{
		Unavailable:    {"暂时无法访问", "服务暂时无法响应。问题不在您这边，请稍后再试。"},
		Overloaded:     {"当前访问人数较多", "使用此服务的人数多于平时。问题不在您这边，请稍后再试。"},
		Maintenance:    {"正在维护", "我们正在进行改进，很快就会恢复。感谢您的耐心等待。"},
		Timeout:        {"响应时间过长", "服务未能及时响应。问题不在您这边，请稍后再试。"},
		Internal:       {"出了点问题", "由于我们这边的错误，暂时无法显示此页面。"},
		RateLimited:    {"请求过于频繁", "短时间内收到了较多请求。请稍等片刻再继续。"},
		NotFound:       {"页面不存在", "此地址没有对应的页面。"},
		RequestTimeout: {"请求用时过长", "请求未能及时到达。可能是网络较慢，请再试一次。"},
		TooLarge:       {"上传内容过大", "请减少内容后再试一次。"},
		BadRequest:     {"无法理解该请求", "请求中有些内容不正确。请返回上一页，再试一次。"},
		Refused:        {"未能完成操作", "无法按当前的请求作出回应。"},
	},
	Wait: Wait{
		Seconds: Forms{Other: "请在 {n}\u00a0秒后重试。"},
		Minutes: Forms{Other: "请在 {n}\u00a0分钟后重试。"},
		Hours:   Forms{Other: "请在 {n}\u00a0小时后重试。"},
		Days:    Forms{Other: "请在 {n}\u00a0天后重试。"},
	},
	Retrying: "此页面会自动重试。",
	GaveUp:   "此页面已停止自动重试，请稍后重新加载。",
	Status:   "状态码",
	Request:  "请求编号",
	Support:  "获取帮助",
}
