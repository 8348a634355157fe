// After a rating the movie leaves the list: the focus goes to the list's heading instead of being lost.
document.addEventListener("htmx:afterSettle", (event) => {
  if (event.detail.target.id === "movies" && document.activeElement === document.body) {
    document.getElementById("recommended-title")?.focus({ preventScroll: true });
  }
});
