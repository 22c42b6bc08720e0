// Package errorpage answers requests that nobody could answer better: with a
// calm page for people, a problem document for programs, and the request id
// that support needs. It never shows an address, a stack or what went wrong
// inside.
//
// [Page.Handler] goes around everything that can fail. It replaces an answer
// only if the slot of the request's context (package failure) holds a failure
// that nobody mended and that is ours to answer, and the status written is that
// failure's. A handler's own 404, or the 500 that an origin sent, passes as it
// is, unless [Config.Intercept5xx] says otherwise. A panicking handler gets the
// page, too, if nothing was sent yet.
//
// [Page.Maintenance] is a handler of its own, for planned work: on and off by
// [Page.StartMaintenance] and [Page.EndMaintenance] or by the presence of
// [MaintenanceConfig.File], until a time or not. Where it stands decides who sees
// the page: outside of a cache everybody, inside only who asks for what is not
// stored.
//
// [Page.ServeError] is the same page as a failure.ErrorHandler. Parts that run
// inside of [Page.Handler] don't need it: their plain answer is replaced.
//
// # Which format
//
//   - application/grpc in the request's Content-Type: a trailers-only answer
//     with grpc-status.
//   - Sec-Fetch-Dest names a sub-resource (image, script, style, font, …): no
//     body, since nobody would see it.
//   - Else what Accept prefers among text/html, application/problem+json
//     (RFC 9457), application/json and text/plain. A type that is named wins
//     over one that a wildcard of the same weight admits.
//   - Accept is absent, or admits everything alike (curl, most programs), or
//     admits nothing of these: text/plain, which reads well in a terminal and
//     in a log. Browsers name text/html when a page is wanted. But a script in a
//     page (Sec-Fetch-Dest: empty) and who names another type that ends in +json
//     get the problem document: nobody reads it before a program does.
//
// # Which language
//
// English, German, French, Spanish, Portuguese, Arabic, Japanese and Chinese (in
// simplified characters) are built in. [Config.Locales] chooses among them and
// says which is the default, [Config.Texts] adds others or changes a text.
// Accept-Language decides, with its weights, by the matching of
// golang.org/x/text/language: a variety gets its language (es-419: es), who
// reads another one with ease gets that (gsw: de) unless a third is named, and
// Traditional Chinese gets the simplified only if nothing else is accepted or zh
// is named, too. Page, detail and plain text are in that language; the title of a
// problem document is the status's own. Content-Language says which it is.
//
// What an Accept-Language field says is read within bounds, kept in a table
// that does not grow, and never repeated. Numbers are in the digits 0 to 9 in all
// languages: so are the status and the request id beside them.
//
// # How it looks
//
// The built-in page has the brand's name or logo, one accent colour that stays
// readable on light and dark ground, and a link to support if there is one. It
// loads nothing, and its Content-Security-Policy admits nothing but its own
// style and script. [Config.Templates] replaces it. Either is rendered by [New]
// for each language and [Group]; when something fails, the status, the wait and
// the request id are all that is filled in.
//
// A page that answered a GET asks by itself whether the site is well again, and
// reloads when it is: by HEAD, while somebody looks at it, for as long as
// [Config.AutoRetry] says.
package errorpage
