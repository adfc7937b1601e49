// Before anything is drawn, so that a chosen theme does not flash the other one.
try {
  var chosen = localStorage.getItem('mirubato.theme')
  if (chosen === 'dark' || chosen === 'light') document.documentElement.dataset.theme = chosen
} catch (_) {
  /* storage may be forbidden; the system's theme then */
}
