"use strict";
const shown = document.getElementById("stream");
const events = new EventSource("/stream");
events.onmessage = (event) => { shown.textContent = event.data; };
events.onerror = () => { shown.textContent = "interrupted; the browser tries again"; };
