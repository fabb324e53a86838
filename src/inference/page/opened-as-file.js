// Not a module: browsers load no modules and start no workers for a page that was opened as a file.
if (location.protocol === 'file:') {
  document.documentElement.dataset.state = 'failed';
  document.getElementById('status').textContent =
    'This page was opened as a file, and browsers run no network there. It needs a web server: in its folder, '
    + 'run “python -m http.server --bind 127.0.0.1” and open http://127.0.0.1:8000, or put the folder on any static host.';
}
