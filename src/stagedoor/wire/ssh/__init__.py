"""The codecs of SSH: keys, certificates, signatures and what channels carry."""
