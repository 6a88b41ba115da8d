// The way back from River UI, which changes the address without loading a page.
const event = document.getElementById("lumin-event");

function show() {
  const job = /^\/river\/jobs\/(\d+)$/.exec(location.pathname);
  event.hidden = !job;
  if (job) event.href = `/jobs/${job[1]}`;
}

new MutationObserver(show).observe(document.getElementById("root"), { childList: true, subtree: true });
show();
