"""The parts of one worker, each made of the settings; `serve.compose` puts them together."""
