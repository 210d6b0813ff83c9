"""The terminal's page: the panel by which files are moved. `web/src/files.ts` brings it to life."""

BUTTON = (
    '<button type="button" id="files-menu" hidden aria-expanded="false" aria-controls="files">'
    "Files</button>"
)
PANEL = """<section id="files" hidden aria-label="Files">
<div><button type="button" id="upload">Upload files…</button>
<form id="fetch"><label for="fetch-path">Download a file…</label>
<input id="fetch-path" autocomplete="off" autocapitalize="none" spellcheck="false" required
 placeholder="~/FILE or /PATH"><button type="submit">Download</button></form></div>
<form id="send" hidden><label for="folder"></label>
<input id="folder" autocomplete="off" autocapitalize="none" spellcheck="false">
<button type="submit">Upload</button><button type="button" id="send-not">Cancel</button></form>
<ul id="transfers" aria-label="Files on their way"></ul>
<p id="files-said" role="status" aria-live="polite"></p>
<input type="file" id="pick" multiple hidden aria-label="Files to upload"></section>
"""
