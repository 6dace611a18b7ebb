"""A name of the operator's own: its certificate and its DNS."""

from __future__ import annotations

import datetime
from collections.abc import Iterator

from .asking import Address, Asker, NotAnswered
from .awsreading import AWS, guarded
from .distribution import Distribution
from .findings import Finding, cross, question, tick
from .keygroups import is_name_of
from .wanted import Wanted

# CloudFront takes certificates of this region alone.
_REGION = "us-east-1"
_SOON = datetime.timedelta(days=14)


class AliasSide:
    """Compares the certificate and the DNS of an alias with the distribution."""

    def __init__(self, wanted: Wanted, aws: AWS, distribution: Distribution, asker: Asker) -> None:
        self._wanted = wanted
        self._aws = aws
        self._distribution = distribution
        self._asker = asker

    def findings(self) -> Iterator[Finding]:
        """Yield what is found."""
        yield from guarded("certificate", self._certificate)
        yield self._dns()

    def _certificate(self) -> Iterator[Finding]:
        name, host = "certificate", self._wanted.host
        mend = (
            f"ACM in {_REGION} > Request a certificate for {host}; then CloudFront > "
            f"{self._distribution.id} > "
            "General > Edit > Custom SSL certificate"
        )
        told = self._distribution.config.get("ViewerCertificate") or {}
        arn = told.get("ACMCertificateArn")
        if not arn:
            if told.get("IAMCertificateId"):
                yield question(name, "the certificate is one of IAM's, which is not read", mend)
            else:
                yield cross(
                    name, f"the distribution has no certificate for {host}, only CloudFront's own", mend
                )
            return
        found = self._aws.read(
            "acm",
            "describe_certificate",
            absent=("ResourceNotFoundException",),
            region=_REGION,
            CertificateArn=arn,
        )
        if found is None:
            yield cross(name, f"the certificate of the distribution is gone ({arn})", mend)
            return
        certificate = found["Certificate"]
        names = [certificate.get("DomainName"), *(certificate.get("SubjectAlternativeNames") or ())]
        ends = certificate.get("NotAfter")
        if not any(is_name_of(str(each).lower(), host) for each in names):
            yield cross(
                name, f"the certificate is not for {host}, but for {', '.join(map(str, names))}", mend
            )
        elif certificate.get("Status") != "ISSUED":
            yield cross(name, f"the certificate is {certificate.get('Status')}, and not issued", mend)
        elif ends is not None and ends - datetime.datetime.now(datetime.UTC) < _SOON:
            yield cross(name, f"the certificate ends on {ends:%Y-%m-%d}", mend)
        else:
            yield tick(name, f"the certificate is for {host}")

    def _dns(self) -> Finding:
        host, domain = self._wanted.host, self._distribution.domain
        mend = f"DNS: a CNAME (or an ALIAS) of {host} to {domain}"
        try:
            ours = self._networks(host)
        except NotAnswered as error:
            return cross("dns", str(error), mend)
        try:
            theirs = self._networks(domain)
        except NotAnswered as error:
            return question("dns", str(error))
        if ours & theirs:
            return tick("dns", f"{host} leads to the distribution")
        return cross("dns", f"{host} does not lead to where {domain} leads", mend)

    def _networks(self, host: str) -> set[str]:
        """Return the beginnings of a host's addresses: two questions get different ones of one network."""
        return {_network(address) for address in self._asker.addresses(f"https://{host}/")}


def _network(address: Address) -> str:
    text = address.place[0]
    return ":".join(text.split(":")[:3]) if ":" in text else ".".join(text.split(".")[:2])
