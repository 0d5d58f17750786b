// Brings news to the parts of a page that ask for it; without it a page shows what was when it was opened.
for (const part of document.querySelectorAll("[data-live]")) {
  const news = new EventSource(part.dataset.live);
  news.onmessage = (event) => { part.innerHTML = event.data; };
}
