"""``cfmiddleware template``: CloudFront's own side as a CloudFormation template."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from cfmiddleware.cloudfront.template import Variant, template
from cfmiddleware.cloudfront.wanted import wanted
from cfmiddleware.config import Config

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def add_parser(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "template",
        help="print the CloudFormation template that sets up CloudFront",
        description="Print a CloudFormation template (YAML) that makes CloudFront, the bucket and their "
        "permissions right for the configuration: bucket, keys, key group, origin access control, cache "
        "policy, distribution, bucket policy, and an IAM policy for the registry. Its outputs are the "
        "distribution's name, the keys' ids and the section 'middleware' to paste. Nothing is connected to.",
    )
    parser.add_argument("config", metavar="CONFIG", help="the configuration file (config.yml)")
    parser.add_argument(
        "--existing-bucket", action="store_true", help="the bucket is there: make only its policy"
    )
    parser.add_argument(
        "--digest-header",
        action="store_true",
        help="add a CloudFront Function that puts Docker-Content-Digest on answers",
    )
    parser.add_argument(
        "--origin-shield",
        metavar="REGION",
        nargs="?",
        const="",
        help="have an Origin Shield in this region (default: the nearest to the bucket)",
    )
    parser.add_argument(
        "--logging",
        metavar="BUCKET",
        nargs="?",
        const="",
        help="have CloudFront's logs written to this bucket, which must take ACLs (default: a new one)",
    )
    parser.add_argument(
        "--alias",
        metavar="NAME",
        action="append",
        default=[],
        help="a further name of the distribution; may be given more than once (the host of baseurl is one)",
    )
    parser.add_argument(
        "--certificate", metavar="ARN", default="", help="the names' certificate in ACM, in us-east-1"
    )
    parser.set_defaults(run=run)


def run(arguments: Any) -> int:
    """Print the template."""
    variant = Variant(
        existing_bucket=arguments.existing_bucket,
        digest_header=arguments.digest_header,
        origin_shield=arguments.origin_shield,
        logging=arguments.logging,
        aliases=tuple(arguments.alias),
        certificate=arguments.certificate,
    )
    print(template(wanted(Config.load(arguments.config)), variant), end="")
    return 0
