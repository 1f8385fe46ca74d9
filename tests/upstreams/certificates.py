"""Authorities of the tests' own, and the certificates that they give to servers."""

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Issued:
    """A server's certificate and its key, as files."""

    certificate: Path
    key: Path

    @property
    def context(self) -> ssl.SSLContext:
        """Settings for a server that shows it."""
        made = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        made.load_cert_chain(self.certificate, self.key)
        return made

    @property
    def for_uvicorn(self) -> dict[str, str]:
        """Options of a uvicorn that shows it."""
        return {"ssl_certfile": str(self.certificate), "ssl_keyfile": str(self.key)}


class Authority:
    """Issues certificates; its own is in a file, for those who are to trust it."""

    def __init__(self, folder: Path, name: str = "Tests") -> None:
        self._folder = folder / name
        self._folder.mkdir()
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _called(name)
        now = datetime.now(UTC)
        made = _building(self._name, self._name, self._key, now - timedelta(days=9), now + timedelta(days=9))
        usage = x509.KeyUsage(
            digital_signature=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=True,
            crl_sign=True,
            encipher_only=False,
            decipher_only=False,
        )
        made = made.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        signed = made.add_extension(usage, critical=True).sign(self._key, hashes.SHA256())
        self.certificate = self._folder / "authority.pem"
        self.certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))

    def issue(self, *names: str, days: tuple[float, float] = (-1, 1)) -> Issued:
        """Give a certificate for these names or addresses, valid from one day to the other."""
        key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
        since, until = (now + timedelta(days=each) for each in days)
        subjects = x509.SubjectAlternativeName([_subject(name) for name in names])
        made = _building(_called(names[0]), self._name, key, since, until)
        signed = made.add_extension(subjects, critical=False).sign(self._key, hashes.SHA256())
        number = f"{signed.serial_number:x}"
        issued = Issued(self._folder / f"{number}.pem", self._folder / f"{number}.key")
        issued.certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        issued.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return issued


def _building(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    since: datetime,
    until: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(since)
        .not_valid_after(until)
    )


def _called(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _subject(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)
