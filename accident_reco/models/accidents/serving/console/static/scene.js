// The scene builder's map: a click sets the place without loading the page. Without this file the browser sends the form.
document.addEventListener("click", (event) => {
  const map = event.target.closest?.("input[data-map]");
  // A click by keyboard is no point of the map.
  if (!map || event.detail === 0) return;
  event.preventDefault();
  const box = map.getBoundingClientRect();
  const x = ((event.clientX - box.left) / box.width) * Number(map.dataset.width);
  const y = ((event.clientY - box.top) / box.height) * Number(map.dataset.height);
  const values = { "at.x": x.toFixed(1), "at.y": y.toFixed(1) };
  htmx.ajax("POST", map.dataset.map, { source: map, target: "#place", swap: map.dataset.swap, values });
});
