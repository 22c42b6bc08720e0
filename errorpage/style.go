package errorpage

// style is all that the built-in page loads, but for the colours. Its texts keep
// a contrast of 6:1 or more to the ground. Letters are set closer only where
// that is how they are set: never in Arabic, whose letters join, nor in Chinese
// or Japanese, which also want more room between the lines.
const style = `*{box-sizing:border-box}` +
	`body{margin:0 auto;min-height:100vh;min-height:100svh;max-width:42rem;display:flex;flex-direction:column;` +
	`padding:clamp(1.5rem,5vw,3rem) clamp(1.25rem,6vw,3rem);background:var(--b);color:var(--f);` +
	`font:1.0625rem/1.6 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif;overflow-wrap:break-word}` +
	`html{background:var(--b);-webkit-text-size-adjust:100%;text-size-adjust:100%}` +
	`header{min-height:2.5rem;font-weight:600}` +
	`header img,header svg{display:block;height:2.5rem;width:auto;max-width:100%;object-fit:contain;object-position:0}` +
	`main{margin:auto 0;padding:3rem 0 5rem}` +
	`h1{margin:0 0 1rem;font-size:clamp(1.75rem,1.2rem + 2.6vw,2.75rem);line-height:1.15;font-weight:650;letter-spacing:-.02em;text-wrap:balance}` +
	`p{margin:0 0 1rem;max-width:34rem;text-wrap:pretty}` +
	`.d,.r,footer{color:var(--d)}` +
	`.r{display:grid;grid-template-columns:auto 1fr;gap:0 .75rem;margin-top:2rem}` +
	`.r:before{content:"";width:.5rem;height:.5rem;margin-top:.55em;border-radius:50%;background:var(--a)}` +
	`.r:has(span[hidden]:first-child):before{background:var(--d)}` +
	`.r span{grid-area:1/2}` +
	`.r[hidden]{display:none}.r [hidden]{visibility:hidden}` +
	`.s{display:inline-block;margin-top:1.5rem;padding:.5rem 1.125rem;border-radius:.5rem;background:var(--a);color:var(--b);font-weight:600;text-decoration:none}` +
	`.s:hover{text-decoration:underline}` +
	`:focus-visible{outline:3px solid var(--a);outline-offset:3px}` +
	`footer{font-size:.875rem;border-top:1px solid var(--l);padding-top:1rem}` +
	`code{display:inline-block;max-width:100%;font:1em/1.6 ui-monospace,Menlo,Consolas,monospace;overflow-wrap:anywhere;user-select:all;direction:ltr;unicode-bidi:isolate}` +
	`:lang(ar),:lang(fa),:lang(he),:lang(ur),:lang(ja),:lang(zh),:lang(ko){line-height:1.8}` +
	`:is(:lang(ar),:lang(fa),:lang(he),:lang(ur),:lang(ja),:lang(zh),:lang(ko))>h1{letter-spacing:0;line-height:1.35}` +
	`svg{direction:ltr}[dir=rtl] img{object-position:100%}[dir=rtl] code{text-align:right}` +
	`:lang(ja) p,:lang(ja) h1{line-break:strict;word-break:auto-phrase}` +
	`@media(prefers-reduced-motion:no-preference){.r:not(:has(span[hidden]:first-child)):before{animation:a 3s ease-in-out infinite}@keyframes a{50%{opacity:.3}}}` +
	`@media print{body{min-height:0}.r,.s{display:none}}`
