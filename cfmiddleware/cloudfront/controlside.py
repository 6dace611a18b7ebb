"""The second step of a check: what AWS is told, read with whatever permissions there are."""

from __future__ import annotations

from collections.abc import Iterator

from .aliasside import AliasSide
from .asking import Asker
from .awsreading import AWS, NoCredentials, Unreadable
from .bucketside import BucketSide
from .distribution import Distribution, DistributionSide, find
from .findings import Finding, cross, question, tick
from .wanted import Wanted


class ControlSide:
    """Reads the distribution, the bucket and the key, and compares them with what is wanted.

    :param works: whether a client gets the object, so that there must be a distribution.
    """

    def __init__(self, wanted: Wanted, aws: AWS, asker: Asker, *, works: bool) -> None:
        self._wanted = wanted
        self._aws = aws
        self._asker = asker
        self._works = works

    def findings(self) -> Iterator[Finding]:
        """Yield what is found."""
        if not self._wanted.on_aws:
            yield question("aws", "the storage is not a bucket of Amazon's, so AWS is not asked")
            return
        try:
            yield from self._findings()
        except NoCredentials as error:
            yield question("aws", str(error), error.mend)

    def _findings(self) -> Iterator[Finding]:
        distribution: Distribution | None = None
        try:
            distribution, is_named = find(self._aws, self._wanted.host, self._wanted.bucket)
        except NoCredentials:
            raise
        except Unreadable as error:
            yield question("distribution", str(error), error.mend)
        else:
            yield self._found(distribution, is_named=is_named)
        if distribution is not None:
            yield from DistributionSide(self._wanted, self._aws, distribution).findings()
        if self._wanted.is_access_point:
            yield question(
                "bucket-policy",
                "the bucket is reached through an access point, whose policies are not judged here",
                "see that the access point's policy and its bucket's let cloudfront.amazonaws.com "
                "s3:GetObject with the distribution's AWS:SourceArn",
            )
        else:
            yield from BucketSide(self._wanted, self._aws, distribution).findings()
        if distribution is not None and self._wanted.alias:
            yield from AliasSide(self._wanted, self._aws, distribution, self._asker).findings()

    def _found(self, distribution: Distribution | None, *, is_named: bool) -> Finding:
        host = self._wanted.host
        if distribution is not None and is_named:
            return tick("distribution", f"{host} is distribution {distribution.id} of this account")
        if self._works:
            return question(
                "distribution",
                f"{host} is not a distribution of the account of these credentials",
                "use credentials of its account",
            )
        other = (
            f"; {distribution.id} ({distribution.domain}) has this bucket as its origin, and is looked at now"
            if distribution is not None
            else ""
        )
        return cross(
            "distribution",
            f"no distribution of this account has the domain name or the alias {host}{other}",
            "set baseurl to the distribution's domain name (CloudFront > Distributions), or add the name at "
            "General > Settings > Alternate domain names",
        )
