// Service worker: caches page, runtime and models, so that the page works offline after the first use.

const CACHE = "ser-VERSION"; // replaced by scripts/build_web.py
const SHELL = SHELL_FILES;
const WORKER_POLICY = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'";

self.addEventListener("install", (event) => {
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(SHELL.map((path) => new Request(path, { cache: "reload" })))).then(() => self.skipWaiting()));
});

self.addEventListener("activate", (event) => {
  event.waitUntil(caches.keys()
    .then((names) => Promise.all(names.filter((name) => name.startsWith("ser-") && name !== CACHE).map((name) => caches.delete(name))))
    .then(() => self.clients.claim()));
});

self.addEventListener("fetch", (event) => {
  const url = new URL(event.request.url);
  if (event.request.method !== "GET" || url.origin !== location.origin || !url.href.startsWith(self.registration.scope)) return;
  event.respondWith(respond(event).then(isolate));
});

async function respond(event) {
  const { request } = event, cached = await caches.match(request, { ignoreSearch: true });
  if (cached) return cached;
  const response = await fetch(request, { cache: "no-cache" }), copy = response.clone();
  if (response.status === 200) // without storage the page works online only
    event.waitUntil(caches.open(CACHE).then((cache) => cache.put(request, copy)).catch(() => {}));
  return response;
}

// Headers that static hosts do not send: several threads, and the policy of the page for its workers
function isolate(response) {
  if (!response.body) return response;
  const headers = new Headers(response.headers);
  if (/\.m?js$/.test(new URL(response.url || location.href).pathname)) headers.set("Content-Security-Policy", WORKER_POLICY);
  headers.set("Cross-Origin-Opener-Policy", "same-origin");
  headers.set("Cross-Origin-Embedder-Policy", "require-corp");
  return new Response(response.body, { status: response.status, statusText: response.statusText, headers });
}
