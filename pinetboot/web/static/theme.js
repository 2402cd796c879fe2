// Before anything is painted: the colours that were chosen here last. All else about them is app.js's.
try {
  const chosen = localStorage.getItem("pinetboot-theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch {
  // No storage: the system's choice stands.
}
