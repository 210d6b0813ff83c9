"""The second stage, authorisation, which decides whether an identity may enter a target.

It decides at once, from the policy in memory. It does not know how users authenticate or where rules are
stored.
"""
