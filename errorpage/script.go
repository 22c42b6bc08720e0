package errorpage

import "time"

// The bounds of the script that asks whether the site is well again.
const (
	defaultAutoRetry = 15 * time.Minute
	maxAutoRetry     = 24 * time.Hour
	// maxPause is the longest Retry-After in seconds that a page waits for by
	// itself. Nobody looks at a page for longer.
	maxPause = 24 * 60 * 60
)

// script is the same on each page, so that one hash admits it. Its element
// follows the one with the two sentences, of which one is shown; what differs
// stands in data attributes: after, the seconds of Retry-After or 0, and for,
// how many seconds of being visible it goes on.
//
// plan sets when to ask next: after Retry-After, a tenth and a second at most, which
// spreads crowds, and never sooner than 1, 1.5, 2.25, … seconds; without one after 5 to
// 30 seconds, more each time. arm sets the timer for that, if somebody looks.
// ask asks by HEAD. If the site is alive it says in sessionStorage how often it
// asked, and reloads: should the answer to GET be a page again, that goes on
// with the count, and so comes to its end, too. A browser that lets
// nothing be stored starts over with long pauses.
const script = `(()=>{try{` +
	`const d=document,s=d.currentScript,e=s.previousElementSibling,w=e.children,l=location,u=l.origin+l.pathname+l.search,` +
	`K="holdfast-retry",M=s.dataset.for*1e3,N=Math.ceil(M/45e3),T=Date.now,R=Math.random;` +
	`let a=s.dataset.after*1e3,n=0,t=0,h=0,p,due,id,busy,off,gen=0;` +
	`const show=x=>{w[0].hidden=x;w[1].hidden=!x;e.hidden=!1},` +
	`seen=()=>d.visibilityState=="visible",` +
	`arm=()=>{clearTimeout(id);if(!off&&!busy&&seen())id=setTimeout(ask,Math.max(0,Math.min(due-T(),p)))},` +
	`plan=()=>{if(n>=N||t&&T()-t>M){off=1;show(!0);return}` +
	`p=a>0?Math.max(a,Math.min(3e4,1e3*1.5**n))*(1+R()/10)+R()*1e3:Math.min(2e4,5e3*1.5**n)*(1+R()/2);` +
	`due=T()+p;t=t||due;show(!1);arm()},` +
	`ask=async()=>{const g=gen,c=new AbortController,x=setTimeout(()=>c.abort(),1e4);let ok;busy=1;n++;a=0;` +
	`try{const r=await fetch(u,{method:"HEAD",cache:"no-store",redirect:"manual",credentials:"same-origin",signal:c.signal}),` +
	`v=r.headers.get("Retry-After"),y=r.status;` +
	`ok=r.type=="opaqueredirect"||y<500&&y!=408&&y!=425&&y!=429||y==501;` +
	`if(v)a=Math.min(/^\d+$/.test(v)?v*1e3:Date.parse(v)-T(),864e5)}catch(_){}` +
	`clearTimeout(x);if(g!=gen)return;busy=0;` +
	`if(!ok)return plan();` +
	`off=1;try{sessionStorage.setItem(K,JSON.stringify([u,n,t,T()]))}catch(_){}l.reload()},` +
	`look=()=>{if(!seen()){h=h||T();clearTimeout(id);return}if(h&&t)t+=Math.max(0,T()-Math.max(h,t));h=0;arm()};` +
	`try{const v=JSON.parse(sessionStorage.getItem(K));sessionStorage.setItem(K,0);sessionStorage.removeItem(K);` +
	`if(v&&v[0]==u&&T()-v[3]<9e4){n=v[1];t=v[2]}}` +
	`catch(_){if((performance.getEntriesByType("navigation")[0]||{}).type=="reload")n=6}` +
	`d.addEventListener("visibilitychange",look);` +
	`addEventListener("pageshow",v=>{if(v.persisted){gen++;busy=off=n=h=0;t=Math.max(due||0,T());show(!1);arm()}});` +
	`if(!seen())h=T();plan()` +
	`}catch(_){}})()`
