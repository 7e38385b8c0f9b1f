"""Whom TLS trusts: the CAs of MASTER_CA_FILE or the system's, whatever the environment says."""

from __future__ import annotations

import ssl
import sys
from pathlib import Path

import certifi

from connection.errors import Failure


def client_context(ca_file: Path | None) -> ssl.SSLContext:
    """A context that verifies the master's certificate and name. `ca_file` None: the system's CAs.

    As ssl.create_default_context() makes it, without what that takes from the environment (SSL_CERT_FILE,
    SSL_CERT_DIR, SSLKEYLOGFILE). Raises Failure when `ca_file` cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if sys.version_info >= (3, 13):
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VERIFY_X509_STRICT
    # a renegotiation would make a reader write, or a writer wait for the other end
    context.options |= ssl.OP_NO_RENEGOTIATION
    if ca_file:
        try:
            context.load_verify_locations(cafile=str(ca_file))
        except OSError as exc:  # of which ssl.SSLError is one
            raise Failure(
                f"MASTER_CA_FILE {ca_file} cannot be used: {exc.strerror or exc}",
                "tls",
                permanent=True,
                remedy="set MASTER_CA_FILE to a readable file with the CA's certificate in PEM form",
            ) from exc
        return context
    if sys.platform == "win32":
        context.load_default_certs()
        return context
    compiled_in = ssl.get_default_verify_paths()
    cafile = compiled_in.openssl_cafile if Path(compiled_in.openssl_cafile).is_file() else None
    capath = compiled_in.openssl_capath if Path(compiled_in.openssl_capath).is_dir() else None
    context.load_verify_locations(cafile if cafile or capath else certifi.where(), capath)
    return context
