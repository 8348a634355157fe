// Uploads a file with its progress; the answer is the summary (HTML of this console) and, after it, the result to download.
const form = document.getElementById("upload");
const progress = document.getElementById("progress");
const target = document.getElementById("result");
let request = null;
let saved = "";

for (const element of document.querySelectorAll(".only-script")) element.hidden = false;
for (const element of document.querySelectorAll(".without-script")) element.hidden = true;

form.addEventListener("submit", (event) => {
  if (event.submitter?.hasAttribute("data-plain")) return;
  event.preventDefault();
  if (request) return;
  const files = form.elements.file.files;
  const kind = form.elements.form.value;
  // One file is sent as it is: the service scores it while it arrives.
  const body = files.length === 1 ? files[0] : new FormData(form);
  request = new XMLHttpRequest();
  request.open("POST", `${form.dataset.result}&form=${kind}`);
  request.responseType = "blob";
  request.setRequestHeader("X-CSRF-Token", form.elements.csrf.value);
  request.setRequestHeader("HX-Request", "true");
  if (files.length === 1) request.setRequestHeader("Content-Type", "application/octet-stream");
  show(0);
  request.upload.addEventListener("progress", (now) => show(now.lengthComputable ? now.loaded / now.total : 0));
  request.addEventListener("loadend", () => finish(request, kind));
  request.send(body);
});

progress.querySelector("button").addEventListener("click", () => request?.abort());

function show(share) {
  progress.hidden = false;
  const isSent = share >= 1;
  progress.querySelector("[data-text=sending]").hidden = isSent;
  progress.querySelector("[data-text=scoring]").hidden = !isSent;
  document.getElementById("share").textContent = isSent ? "…" : `${Math.floor(100 * share)} %`;
  const bar = progress.querySelector("progress");
  if (isSent) bar.removeAttribute("value");
  else bar.value = share;
}

async function finish(done, kind) {
  progress.hidden = true;
  request = null;
  const login = done.getResponseHeader("HX-Redirect");
  if (login) {
    location.assign(login);
    return;
  }
  if (!done.response || done.status === 0) {
    target.replaceChildren(document.getElementById("upload-failed").content.cloneNode(true));
    return;
  }
  const length = Number(done.getResponseHeader("X-Summary-Bytes") ?? done.response.size);
  htmx.swap("#result", await done.response.slice(0, length).text(), { swapStyle: target.dataset.swap });
  const link = document.getElementById("download");
  if (link) {
    URL.revokeObjectURL(saved);
    saved = URL.createObjectURL(done.response.slice(length));
    link.href = saved;
    link.download = `scored.${kind}`;
    link.hidden = false;
  }
  target.focus();
}
