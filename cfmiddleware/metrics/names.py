"""Every metric, with the values that its labels have.

Names that begin with ``registry_`` are Distribution's and mean the same.
"""

from __future__ import annotations

from http import HTTPStatus

from cfmiddleware.version import __version__

from .cells import STATE
from .kinds import OTHER, Counter, Gauge, Histogram, LatestGauge

# Distribution's.
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 60)

HANDLERS = (
    *("base", "blob", "blob_upload", "blob_upload_chunk", "catalog", "manifest", "tags", "referrers"),
    OTHER,
)
METHODS = ("get", "head", "post", "put", "patch", "delete", "options", OTHER)
_CODES = (*(str(status.value) for status in HTTPStatus if status >= 200), OTHER)

_WAYS = ("edge", "s3", "app")

#: What :class:`~cfmiddleware.middleware.misses.Misses` counts.
REASONS = (
    *("no-digest", "other-digest", "html", "no-bucket", "other-bucket", "no-endpoint", "other-endpoint"),
    *("own-redirect", "unclear-redirect", "origin-path", "key-segments", "signing", "presigning"),
    *("too-large", "unknown-client", "ipv6-client", "rewritten-path", "other-prefix", "small", "declined"),
)

_S3_OPERATIONS = (
    *("GetObject", "HeadObject", "PutObject", "CopyObject", "ListObjectsV2", "DeleteObject", "DeleteObjects"),
    *("CreateMultipartUpload", "UploadPart", "UploadPartCopy", "CompleteMultipartUpload"),
    *("AbortMultipartUpload", "ListMultipartUploads", "ListParts", OTHER),
)

#: What is done with the storage once in an interval, as the sections of ``storage.maintenance`` are called.
MAINTENANCE = ("uploadpurging", "retention")

#: What a connection waited for when its deadline ended it.
WAITS = ("handshake", "idle", "head", "body", "place", "answer")

REQUESTS = Counter(
    "registry_http_requests",
    "Requests that were answered.",
    {"handler": HANDLERS, "method": METHODS, "code": _CODES},
)
REQUEST_SECONDS = Histogram(
    "registry_http_request_duration_seconds",
    "How long requests took, until the last byte of the answer.",
    {"handler": HANDLERS, "method": METHODS},
    buckets=_SECONDS,
)
IN_FLIGHT = Gauge(
    "registry_http_in_flight_requests", "Requests that are being answered.", {"handler": HANDLERS}
)
STORAGE_SECONDS = Histogram(
    "registry_storage_action_seconds",
    "How long the storage took for an action.",
    {
        "driver": ("filesystem", "inmemory", "s3", OTHER),
        "action": ("GetContent", "PutContent", "Reader", "Writer", "Stat", "List", "Move", "Delete"),
    },
    buckets=_SECONDS,
)
STORAGE_CACHE = Counter(
    "registry_storage_cache",
    "What became of questions to the descriptor cache (storage.cache).",
    {"type": ("Hit", "Miss", "Error")},
)
NOTIFICATION_EVENTS = Counter(
    "registry_notifications_events",
    "Events for endpoints: Events that were made, and attempts to send one.",
    {"type": ("Events", "Successes", "Failures", "Errors"), "endpoint": None},
)
NOTIFICATIONS_PENDING = LatestGauge(
    "registry_notifications_pending_total",
    "Events that wait for an endpoint.",
    {"endpoint": None},
    told=True,
    goes=True,
)
NOTIFICATION_STATUS = Counter(
    "registry_notifications_status",
    "Answers of endpoints, by their statuses.",
    {"code": tuple(f"{status.value} {status.phrase}" for status in HTTPStatus), "endpoint": None},
)
NOTIFICATIONS_DEAD = LatestGauge(
    "cfmiddleware_notifications_dead",
    "Events that an endpoint did not take and that wait for an operator.",
    {"endpoint": None},
    told=True,
    goes=True,
)
NOTIFICATIONS_LOST = Counter(
    "cfmiddleware_notifications_lost",
    "Events for which there was no room, or no spool.",
    {"endpoint": None},
)

PULLS = Counter("cfmiddleware_pulls", "Pulls of blobs, by where they were sent.", {"sent": _WAYS})
PULL_BYTES = Counter(
    "cfmiddleware_pull_bytes",
    "Bytes of the blobs that were pulled: of redirects the blob's size, of the app what was sent.",
    {"sent": _WAYS},
)
PULLS_OF_UNKNOWN_SIZE = Counter(
    "cfmiddleware_pulls_of_unknown_size",
    "Redirects whose bytes are in no other metric: of a range, or of a blob whose size nobody said.",
    {"sent": ("edge", "s3")},
)
NOT_REDIRECTED = Counter(
    "cfmiddleware_pulls_not_redirected",
    "Pulls that the app allowed and that were not redirected.",
    {"reason": REASONS},
)
REPOSITORY_PULLS = Counter(
    "cfmiddleware_repository_pulls",
    "Pulls of the repositories that metrics.repositories names, as far as they reach the wrapper.",
    {"repository": None, "sent": _WAYS},
)
SIGNATURES = Counter(
    "cfmiddleware_signatures",
    "Signed URLs of CloudFront.",
    {"outcome": ("made", "reused", "failed")},
)
SIGNING_KEY = LatestGauge(
    "cfmiddleware_signing_key_timestamp_seconds",
    "When the file of the key that signs was last changed, in Unix seconds; 0 for a key that signed before.",
    {"id": None},
    told=True,
)
KEY_ROTATIONS = Counter(
    "cfmiddleware_key_rotations",
    "New keys that the workers have met, each worker for itself.",
    {"outcome": ("taken", "refused")},
)
PROBE_SECONDS = Histogram(
    "cfmiddleware_probe_seconds",
    "How long the app took to say whether a client may have a blob.",
    buckets=(0.0005, 0.001, 0.0025, *_SECONDS),
)
PROBE_CACHE = Counter(
    "cfmiddleware_probecache", "What became of questions to probecache.", {"outcome": ("hit", "miss")}
)
ADDRESS_RANGES = LatestGauge(
    "cfmiddleware_address_ranges_timestamp_seconds",
    "When AWS published the address ranges that are in force, in Unix seconds.",
    told=True,
)
ADDRESS_FETCHES = Counter(
    "cfmiddleware_address_ranges_fetches",
    "Fetches of AWS's address ranges.",
    {"outcome": ("ok", "failed")},
)
UPLOADS = Gauge("cfmiddleware_uploads_in_flight", "Uploads that are being taken in (server.uploads).")
UPLOADS_REFUSED = Counter("cfmiddleware_uploads_refused", "Uploads that found no place and got 429.")
PARTS = Gauge("cfmiddleware_parts_in_memory", "Parts of uploads to S3 that are held in memory.")
S3_REQUESTS = Counter(
    "cfmiddleware_s3_requests",
    "Requests to S3, their retries not counted.",
    {
        "operation": _S3_OPERATIONS,
        "outcome": ("ok", "not_found", "exists", "refused", "failed", "unanswered"),
    },
)
S3_RETRIES = Counter(
    "cfmiddleware_s3_retries", "Requests to S3 that were sent again.", {"operation": _S3_OPERATIONS}
)
COLLECTIONS = Counter(
    "cfmiddleware_collections",
    "Garbage collections that this server has begun by itself, by what became of them.",
    {"outcome": ("done", "unfinished", "stopped", "failed")},
)
COLLECTED = Counter(
    "cfmiddleware_collected",
    "What these have taken: links of blobs and manifests from repositories, and blobs from the storage.",
    {"kind": ("link", "manifest", "blob")},
)
COLLECTED_BYTES = Counter("cfmiddleware_collected_bytes", "The bytes of the blobs that these have deleted.")
COLLECTION_REQUESTS = Counter(
    "cfmiddleware_collection_requests",
    "Requests to S3 of these, those that were sent again included; they are in no other metric.",
    {"kind": ("list", "put", "get", "head", "delete")},
)
COLLECTION_ENDED = LatestGauge(
    "cfmiddleware_collection_ended_timestamp_seconds",
    "When the storage's last garbage collection ended, whoever began it, in Unix seconds; 0 for never.",
    told=True,
)
COLLECTION_SUCCESS = LatestGauge(
    "cfmiddleware_collection_success_timestamp_seconds",
    "When the last garbage collection ended that was done; before the first, since when one is due.",
    told=True,
)
COLLECTION_SECONDS = LatestGauge(
    "cfmiddleware_collection_duration_seconds",
    "How long the storage's last garbage collection took.",
    told=True,
)
COLLECTION_INTERVAL = LatestGauge(
    "cfmiddleware_collection_interval_seconds",
    "How often garbage is collected (storage.maintenance.garbagecollect); 0 where it is not by itself.",
    told=True,
)
MAINTENANCE_RUNS = Counter(
    "cfmiddleware_maintenance_runs",
    "Upload purges and retentions that this server has begun by itself, by what became of them.",
    {"task": MAINTENANCE, "outcome": ("done", "stopped", "failed")},
)
REMOVED = Counter(
    "cfmiddleware_maintenance_removed",
    "What these have deleted: tags, uploads, parts of objects that were never finished, temporary objects.",
    {"kind": ("tag", "upload", "unfinished", "temporary")},
)
REMOVED_BYTES = Counter(
    "cfmiddleware_maintenance_removed_bytes", "The bytes of these uploads, parts and temporary objects."
)
MAINTENANCE_SUCCESS = LatestGauge(
    "cfmiddleware_maintenance_success_timestamp_seconds",
    "When it was last done, whoever did it, in Unix seconds; before this server knows, when it began.",
    {"task": MAINTENANCE},
    told=True,
)
MAINTENANCE_INTERVAL = LatestGauge(
    "cfmiddleware_maintenance_interval_seconds",
    "How often it is done by itself (storage.maintenance); 0 where it is not.",
    {"task": MAINTENANCE},
    told=True,
)
REDIS_FAILURES = Counter(
    "cfmiddleware_redis_failures", "Times that Redis failed and the storage was asked in its place."
)
AUTHENTICATIONS = Counter(
    "cfmiddleware_authentications",
    "What became of requests that need a credential: challenged are those that came without one.",
    {"outcome": ("granted", "challenged", "refused")},
)
CONNECTIONS_ENDED = Counter(
    "cfmiddleware_connections_ended", "Connections that a deadline ended.", {"wait": WAITS}
)
CHECKS_FAILING = LatestGauge(
    "cfmiddleware_health_check_failing",
    "Whether a check of the section health fails: 1 or 0.",
    {"check": None},
    told=True,
    goes=True,
)
INFO = LatestGauge(
    "cfmiddleware_info",
    "The version that runs: 1; 0 for one that ran before.",
    {"version": None},
    told=True,
)


def _tell_version() -> None:
    INFO.of(__version__).set(1)


STATE.tell(_tell_version)
