"""terminado: the terminal of JupyterLab, on its own page in Jupyter Notebook."""

from pathlib import Path

from peers.process import Process, free_port, version_of
from peers.web_peer import BUFFER, WebPeer, find_program

_TERM = "jupyterapp.shell.currentWidget.content._term"


def start(folder: Path, command: str) -> WebPeer:
    """Start a notebook that runs `command` in each new terminal. Raises MissingError and StartError."""
    notebook = find_program("jupyter-notebook", "PyPI's package notebook")
    port = free_port()
    process = Process(
        [
            notebook, "--allow-root", "--no-browser", "--ServerApp.ip=127.0.0.1",
            f"--ServerApp.port={port}", "--ServerApp.port_retries=0", "--IdentityProvider.token=",
            "--ServerApp.password=", f"--ServerApp.root_dir={folder}",
            f"--ServerApp.terminado_settings={{'shell_command': ['{command}']}}",
            "--JupyterNotebookApp.expose_app_in_browser=True",
        ],
        folder / "notebook.log",
    )  # fmt: skip
    process.answers(port)
    return WebPeer(
        process,
        port,
        f"Jupyter Notebook {version_of(notebook, '--version')}",
        "signing in is turned off; a terminal stays until the server ends",
        "/terminals/{terminal}",
        BUFFER.format(_TERM),
        "jupyterapp.shell.currentWidget.title.label",
    )
