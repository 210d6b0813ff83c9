"""Where a fresh proof of a person's presence is wanted, and where they give one."""

from stagedoor.admin.sign_in.links import site_or_none
from stagedoor.authz.step_up import StepUpRules
from stagedoor.settings.settings import Settings

PATH = "/step-up"


def step_up_rules(settings: Settings) -> StepUpRules:
    """By the settings. Without an address of the WebShell the page has no URL to tell."""
    site = site_or_none(settings)
    url = None if site is None else site + PATH
    return StepUpRules(settings.step_up.patterns, settings.step_up.fresh_s, url)
