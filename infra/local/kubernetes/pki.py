"""Keys and the kubeconfig, made once and kept, so that clients still trust a restarted cluster."""

from __future__ import annotations

import ipaddress
import json
import secrets
import ssl
from datetime import timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from infra.local.kubernetes.values import now

_YEARS = timedelta(days=3650)


class Pki:
    """The files of one cluster: CA, server certificate, admin certificate and admin token."""

    def __init__(self, directory: Path) -> None:
        self._dir = directory
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not (directory / "token").exists():
            self._create()
        self.token = (directory / "token").read_text().strip()

    def server_context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(self._dir / "ca.crt"))
        context.load_cert_chain(self._dir / "server.crt", self._dir / "server.key")
        context.verify_mode = ssl.CERT_OPTIONAL
        return context

    def write_kubeconfig(self, path: Path, url: str) -> None:
        """JSON is YAML, so no YAML library is needed. The keys are named, not included: clients write those
        that are included to temporary files."""
        cluster = {"server": url, "certificate-authority": self._path("ca.crt")}
        user = {"client-certificate": self._path("admin.crt"), "client-key": self._path("admin.key")}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "trainyard",
            "preferences": {},
            "clusters": [{"name": "trainyard", "cluster": cluster}],
            "users": [{"name": "admin", "user": user}],
            "contexts": [{"name": "trainyard", "context": {"cluster": "trainyard", "user": "admin"}}],
        }
        _write(path, json.dumps(config, indent=2).encode())

    def _path(self, name: str) -> str:
        return str((self._dir / name).absolute())

    def _create(self) -> None:
        ca_key = ec.generate_private_key(ec.SECP256R1())
        ca_name = _name("trainyard-ca")
        ca = (
            _builder(ca_name, ca_name, ca_key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(sign_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False)
            .sign(ca_key, hashes.SHA256())
        )
        _write(self._dir / "ca.crt", ca.public_bytes(serialization.Encoding.PEM))
        _write(self._dir / "ca.key", _pem(ca_key))
        for file, subject, purpose in (
            ("server", _name("kube-apiserver"), ExtendedKeyUsageOID.SERVER_AUTH),
            ("admin", _name("kubernetes-admin", "system:masters"), ExtendedKeyUsageOID.CLIENT_AUTH),
        ):
            key = ec.generate_private_key(ec.SECP256R1())
            hosts = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
            issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
            builder = (
                _builder(subject, ca_name, key)
                .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
                .add_extension(_usage(sign_certificates=False), critical=True)
                .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
                .add_extension(issuer, critical=False)
                .add_extension(x509.SubjectAlternativeName(hosts), critical=False)
            )
            certificate = builder.sign(ca_key, hashes.SHA256())
            _write(self._dir / f"{file}.crt", certificate.public_bytes(serialization.Encoding.PEM))
            _write(self._dir / f"{file}.key", _pem(key))
        _write(self._dir / "token", secrets.token_urlsafe(32).encode())


def _name(common: str, organization: str = "") -> x509.Name:
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, common)]
    if organization:
        parts.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
    return x509.Name(parts)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now() - timedelta(hours=1))
        .not_valid_after(now() + _YEARS)
    )


def _usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, data: bytes) -> None:
    """Whole or not at all, and for the owner only."""
    partial = path.with_name(path.name + ".new")
    partial.touch(mode=0o600)
    partial.write_bytes(data)
    partial.replace(path)
