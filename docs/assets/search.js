// The search reads its index from a server: a page opened from a disk says so, instead of finding nothing.
(() => {
  const field = document.querySelector("[data-md-component=search-query]");
  if (!field || location.protocol !== "file:") return;
  field.placeholder = "The search needs a server: python3 -m http.server --directory build/site";
  field.disabled = true;
})();
