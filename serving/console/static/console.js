// Enhancements of every page; all pages work without.

// A button that asks for confirmation: <button data-confirm="Really?">.
document.addEventListener("submit", (event) => {
  const question = event.submitter?.dataset.confirm ?? event.target.dataset.confirm;
  if (question && !window.confirm(question)) event.preventDefault();
});

// A form whose answer takes long shows the element that it names: <form data-busy="id">.
document.addEventListener("submit", (event) => {
  if (!event.defaultPrevented) document.getElementById(event.target.dataset.busy ?? "")?.classList.add("busy");
});

// A field that sends its form when it changes: <select data-submit>. Its form has a button for those without script.
document.addEventListener("change", (event) => {
  if (event.target.matches?.("[data-submit]")) event.target.form.requestSubmit();
});

// Copies the text of the element that it names: <button data-copy="id" hidden>.
for (const button of document.querySelectorAll("[data-copy]")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
    button.textContent = "Copied";
  });
}

document.documentElement.classList.add("js");
