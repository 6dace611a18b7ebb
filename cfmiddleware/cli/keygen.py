"""``cfmiddleware keygen``: a key pair for CloudFront."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cfmiddleware.errors import ConfigError
from cfmiddleware.signing.keyfiles import write_private
from cfmiddleware.signing.keys import generate

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

_NEXT = """\
Wrote {private}, the private key: keep it secret; only you can read it.
Wrote {public}, the public half.

By hand, in CloudFront:
  1. Key management > Public keys > Create public key: paste {public}.
     CloudFront gives it an id such as K2JCJMDEHXQW5F. That is the keypairid.
  2. Key management > Key groups > Create key group: add the public key.
  3. Your distribution > Behaviors > Edit: Restrict viewer access: Yes,
     Trusted authorization type: Trusted key groups, and choose the group.
{here}

Or all of it from the configuration that names the key: this prints a CloudFormation template
of everything that CloudFront needs. Deploy it, paste its output Middleware, and run 'cfmiddleware check'.
  cfmiddleware template config.yml
"""


_ID_IN_OPTION = """\
And here: set privatekey to {private} and keypairid to that id;
or rename the file to pk-<id>.pem and leave keypairid out."""

_ID_IN_NAME = """\
And here: set privatekey to {private}. Its name says that the id is {id}; where CloudFront
gives another one, rename both files."""


def add_parser(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "keygen",
        help="write a key pair and say what to do with it in CloudFront",
        description="Write an RSA (2048 bits) or ECDSA (P-256) key pair as PEM files and say what to do with "
        "the public half in CloudFront. Existing files are never overwritten.",
    )
    parser.add_argument(
        "--type",
        choices=("rsa", "ecdsa"),
        default="rsa",
        help="the kind of key; signing with ECDSA costs a tenth (default: %(default)s)",
    )
    parser.add_argument(
        "--out",
        metavar="NAME",
        default="cloudfront",
        help="write NAME.pem and NAME.pub.pem; NAME may begin with a directory (default: %(default)s)",
    )
    parser.set_defaults(run=run)


def run(arguments: Any) -> int:
    """Write both files, or none of them."""
    base = Path(arguments.out)
    if base.name in ("", "..") or arguments.out.endswith("/"):
        raise ConfigError(f"--out: {arguments.out!r} is a directory; add a name, such as cloudfront")
    private, public = base.with_name(base.name + ".pem"), base.with_name(base.name + ".pub.pem")
    pair = generate(arguments.type)
    write_private(private, pair.private_pem)
    try:
        write_private(public, pair.public_pem, 0o644)
    except ConfigError:
        private.unlink()
        raise
    id = base.name.removeprefix("pk-")
    here = (_ID_IN_OPTION if id == base.name else _ID_IN_NAME).format(private=private, id=id)
    print(_NEXT.format(private=private, public=public, here=here), end="")
    return 0
