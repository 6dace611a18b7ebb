"""The tree of Distribution's storage layout, and the one place that builds paths in it.

Everything lies below the root ``/docker/registry/v2/``; the driver puts its root directory in front. What is
marked with ``*`` is ours alone, and Distribution skips it.

::

    blobs/<algorithm>/<hex[:2]>/<hex>/data                              a blob's or a manifest's bytes
    repositories/<name>/
        _layers/<algorithm>/<hex>/link                                  the blob is part of the repository
        _manifests/
            revisions/<algorithm>/<hex>/link                            the manifest is part of the repository
            tags/<tag>/
                current/link                                            the manifest that the tag names now
                index/<algorithm>/<hex>/link                            every manifest that the tag ever named
      * _referrers/<algorithm>/<hex>/<algorithm>-<hex>                  descriptor of a manifest that is about
                                                                        the one whose digest the folder has
      * _types/<algorithm>/<hex>                                        type of a manifest that says none
        _uploads/<uuid>/                                                an upload whose URL does not say all
            startedat                                                   when it began
          * cancelled                                                   none of its URLs counts any more
          * purging                                                     the same, while it is purged
          * algorithm-<algorithm>                                       what to hash with, unless sha256
          * state-<n as 8 digits>                                       the n-th link of the upload's chain
          * piece-<uuid>                                                bytes that one request brought
  * _cfmiddleware/uploadsecret                                          what signs the URLs of uploads
  * _cfmiddleware/collect/                                              what garbage collections keep
  * _cfmiddleware/events/                                               events that nobody has taken yet
  * _cfmiddleware/purge/                                                which process purges uploads, and when
                                                                        one last did

A ``link`` is the text of a digest without a newline. Its content, not its name, says where the data is.
"""

from __future__ import annotations

from cfmiddleware.digest import Digest

_ROOT = "/docker/registry/v2/"

#: What signs the URLs of uploads.
UPLOAD_SECRET = _ROOT + "_cfmiddleware/uploadsecret"

#: The folder of all repositories.
REPOSITORIES = _ROOT + "repositories/"

#: The folder of all blobs.
BLOBS = _ROOT + "blobs/"

#: The folder of the events that endpoints of notifications have not taken yet.
EVENTS = _ROOT + "_cfmiddleware/events/"

_COLLECT = _ROOT + "_cfmiddleware/collect/"

#: The folder of what collections are about to delete.
CONDEMNED = _COLLECT + "condemned/"

#: The folder of the lists of links that collections have set aside.
ASIDE = _COLLECT + "aside/"

#: The folder of what collections remember of the manifests that they have read.
REMEMBERED = _COLLECT + "remembered/"

#: The object that says which collection runs.
LEASE = _COLLECT + "lease"

#: The folder of the registry's own objects.
OWN = _ROOT + "_cfmiddleware/"

#: Everything that belongs to the registry.
EVERYTHING = _ROOT

#: The object that says which process purges uploads.
PURGE_LEASE = OWN + "purge/lease"

#: What the last purge of uploads has done; its time is when it ended.
LAST_PURGE = OWN + "purge/last"

#: The object that says which process deletes tags by itself.
RETENTION_LEASE = OWN + "retention/lease"

#: How many tags retention has last deleted; its time is when that ended.
LAST_RETENTION = OWN + "retention/last"

#: An object that is written to learn the storage's time.
CLOCK = _COLLECT + "clock"

#: What became of the last collection.
LAST_COLLECTION = _COLLECT + "last"


def blob_data(digest: Digest) -> str:
    """Return where the bytes of *digest* are."""
    return f"{_ROOT}blobs/{digest.algorithm}/{digest.hex[:2]}/{digest.hex}/data"


def repository(name: str) -> str:
    """Return the folder of a repository, of those nested in it, and of nothing else."""
    return f"{REPOSITORIES}{name}/"


def layers(name: str) -> str:
    """Return the folder of the links that make blobs part of a repository."""
    return f"{REPOSITORIES}{name}/_layers/"


def layer_link(name: str, digest: Digest) -> str:
    """Return the link that makes a blob part of a repository."""
    return f"{REPOSITORIES}{name}/_layers/{digest.algorithm}/{digest.hex}/link"


def revision_link(name: str, digest: Digest) -> str:
    """Return the link that makes a manifest part of a repository."""
    return f"{REPOSITORIES}{name}/_manifests/revisions/{digest.algorithm}/{digest.hex}/link"


def manifests(name: str) -> str:
    """Return the folder of a repository's manifests and tags."""
    return f"{REPOSITORIES}{name}/_manifests/"


def tags(name: str) -> str:
    """Return the folder of a repository's tags."""
    return f"{REPOSITORIES}{name}/_manifests/tags/"


def tag(name: str, tag: str) -> str:
    """Return the folder of one tag."""
    return f"{tags(name)}{tag}/"


#: Where a tag's current link lies below the tag's folder.
CURRENT_LINK = "current/link"


def tag_current(name: str, tag: str) -> str:
    """Return the link to the manifest that a tag names now."""
    return f"{tags(name)}{tag}/{CURRENT_LINK}"


def tag_index(name: str, tag: str, digest: Digest) -> str:
    """Return the link that remembers that a tag named a manifest."""
    return f"{tags(name)}{tag}/index/{digest.algorithm}/{digest.hex}/link"


def all_referrers(name: str) -> str:
    """Return the folder of the lists of referrers of a repository."""
    return f"{REPOSITORIES}{name}/_referrers/"


def referrers(name: str, subject: Digest) -> str:
    """Return the folder of the manifests that refer to *subject*."""
    return f"{REPOSITORIES}{name}/_referrers/{subject.algorithm}/{subject.hex}/"


def referrer(name: str, subject: Digest, digest: Digest) -> str:
    """Return where the descriptor of one manifest that refers to *subject* is."""
    return f"{referrers(name, subject)}{digest.algorithm}-{digest.hex}"


def manifest_types(name: str) -> str:
    """Return the folder of the media types of a repository's manifests."""
    return f"{REPOSITORIES}{name}/_types/"


def manifest_type(name: str, digest: Digest) -> str:
    """Return where the media type of a manifest is kept if its bytes do not say it."""
    return f"{manifest_types(name)}{digest.algorithm}/{digest.hex}"


def revisions(name: str) -> str:
    """Return the folder of the links that make manifests part of a repository."""
    return f"{REPOSITORIES}{name}/_manifests/revisions/"


def uploads(name: str) -> str:
    """Return the folder of a repository's uploads."""
    return f"{REPOSITORIES}{name}/_uploads/"


def upload(name: str, uuid: str) -> str:
    """Return the folder of an upload."""
    return f"{REPOSITORIES}{name}/_uploads/{uuid}/"
