"""Where a fresh proof of a person's presence is wanted, and where they give one."""

from stagedoor.admin.sign_in.links import site_of
from stagedoor.authz.step_up import StepUpRules
from stagedoor.model.errors import RefusedError
from stagedoor.settings.settings import Settings

PATH = "/step-up"


def step_up_rules(settings: Settings) -> StepUpRules:
    """By the settings. Without an address of the WebShell the page has no URL to tell."""
    try:
        url = site_of(settings, None) + PATH
    except RefusedError:
        url = None
    return StepUpRules(settings.step_up.selectors, settings.step_up.fresh_s, url)
