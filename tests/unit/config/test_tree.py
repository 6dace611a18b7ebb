"""The `REGISTRY_...` variables, which take the place of a file's values."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lab.configurations import WRAPPED, build, line_of_refusal, load, refusal
from lab.examples import examples
from werkzeug.test import Client

from cfmiddleware.config import Config
from cfmiddleware.config.tree import load_tree
from cfmiddleware.digest import Digest


def overridden(directory: Path, text: str = WRAPPED, **environ: str) -> Config:
    return load(directory, text, {f"REGISTRY_{name}": value for name, value in environ.items()})


def test_a_variable_takes_the_place_of_a_value(directory: Path):
    assert str(overridden(directory, HTTP_ADDR="127.0.0.1:6000").address()) == "127.0.0.1:6000"


def test_a_variable_adds_what_the_file_does_not_have(directory: Path):
    keys = {"EDGE_PUBLICKEYS": "{K1: public.pem}"}
    config = overridden(directory, "storage: {inmemory: }", EDGE_ADDR="127.0.0.1:6001", **keys)

    assert str(config.edge_address()) == "127.0.0.1:6001"


def test_a_variable_reaches_into_a_list_by_index(directory: Path):
    config = overridden(directory, MIDDLEWARE_STORAGE_0_OPTIONS_BASEURL="https://other.example.com")
    digest = Digest.of(b"layer")

    assert config.wrap(config.registry()).signed_blob("app", digest).startswith("https://other.example.com/")


def test_variables_can_make_a_whole_list(directory: Path):
    config = overridden(
        directory,
        "storage: {inmemory: }",
        MIDDLEWARE_STORAGE_0_NAME="cloudfront",
        MIDDLEWARE_STORAGE_0_OPTIONS_BASEURL="https://other.example.com",
        MIDDLEWARE_STORAGE_0_OPTIONS_PRIVATEKEY="keys/pk-KEXAMPLE1.pem",
    )

    url = config.wrap(config.registry()).signed_blob("app", Digest.of(b"layer"))

    assert url.startswith("https://other.example.com/")


def test_a_variables_value_is_yaml(directory: Path):
    config = overridden(directory, SERVER="{connections: 48, uploads: 8}", STORAGE_DELETE_ENABLED="false")

    assert config.server_options().connections == 48
    assert Client(config.registry()).delete(f"/registry/v2/a/blobs/{Digest.of(b'')}").status_code == 405


@pytest.mark.parametrize("value", ["inmemory", "{inmemory: {}}"])
def test_another_driver_leaves_nothing_of_the_old_ones_options(directory: Path, value: str):
    text = "storage: {s3: {bucket: b, region: r, nonsense: 1}, delete: {enabled: true}}"

    assert overridden(directory, text, STORAGE=value).driver().name == "inmemory"


def test_the_new_driver_takes_options_from_further_variables(directory: Path):
    config = overridden(
        directory,
        "storage: {inmemory: }",
        STORAGE="filesystem",
        STORAGE_FILESYSTEM_ROOTDIRECTORY=str(directory / "here"),
    )

    assert config.data() == str(directory / "here")


def test_variables_of_other_programs_are_passed_over_with_a_warning(
    directory: Path, caplog: pytest.LogCaptureFixture
):
    build(overridden(directory, WRAPPED, PASSWORD_FILE="/run/secret", URL="https://registry.example.com"))

    assert caplog.messages[:2] == [
        f"the variable REGISTRY_{name} names nothing in a configuration and is passed over"
        for name in ("PASSWORD_FILE", "URL")
    ]


def variables_of_service(name: str, port: str = "5001") -> dict[str, str]:
    """Return what Kubernetes sets in every pod for the Service `registry-NAME`, without `REGISTRY_`."""
    name = f"{name}_" if name else ""
    return {
        f"{name}SERVICE_HOST": "10.0.0.7",
        f"{name}SERVICE_PORT": port,
        f"{name}SERVICE_PORT_HTTP_API": port,
        f"{name}PORT": f"tcp://10.0.0.7:{port}",
        f"{name}PORT_{port}_TCP": f"tcp://10.0.0.7:{port}",
        f"{name}PORT_{port}_TCP_PROTO": "tcp",
        f"{name}PORT_{port}_TCP_PORT": port,
        f"{name}PORT_{port}_TCP_ADDR": "10.0.0.7",
    }


#: The sections, and others that begin like one: a Service may have any name.
SERVICES = [
    *("", "LOG", "STORAGE", "AUTH", "MIDDLEWARE", "HTTP", "CATALOG", "TAGS", "VALIDATION", "REDIS", "EDGE"),
    *("SERVER", "NOTIFICATIONS", "HEALTH", "PROXY", "POLICY", "HTTP_PUBLIC", "STORAGE_S3", "LOG_LEVEL"),
]


@pytest.mark.parametrize("service", SERVICES)
def test_variables_of_a_kubernetes_service_are_passed_over_with_one_warning(
    directory: Path, caplog: pytest.LogCaptureFixture, service: str
):
    variables = variables_of_service(service)

    load(directory, WRAPPED)
    file = directory / "config.yml"
    caplog.clear()

    with_them = load_tree(file, {f"REGISTRY_{name}": value for name, value in variables.items()})

    assert with_them == load_tree(file, {})
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("variables of Kubernetes Services are passed over: REGISTRY_")
    assert all(f"REGISTRY_{name}" in caplog.messages[0] for name in variables)


def test_a_service_with_an_ipv6_address_is_one_too(directory: Path):
    variables = variables_of_service("HTTP")
    changed = {name: value.replace("10.0.0.7", "[fd00::7]") for name, value in variables.items()}
    changed["HTTP_SERVICE_HOST"] = "fd00::7"
    changed["HTTP_PORT_5001_TCP_ADDR"] = "fd00::7"

    assert str(overridden(directory, WRAPPED, **changed).address()) == "127.0.0.1:5055"


def test_a_name_that_the_operator_chose_is_not_taken_for_a_services(directory: Path):
    fields = overridden(directory, WRAPPED, LOG_FIELDS_PORT="tcp://a")

    assert fields.log_options().fields == {"port": "tcp://a"}


def test_the_version_of_an_image_is_not_that_of_the_configuration(directory: Path):
    """Images of registries define `REGISTRY_VERSION=2.8.3`; Distribution reads the version from the file."""
    build(overridden(directory, WRAPPED, VERSION="2.8.3"))


def test_where_container_clients_keep_passwords_is_no_way_to_authenticate(directory: Path):
    """podman and skopeo read `REGISTRY_AUTH_FILE`; in a job they share the variables of our commands."""
    build(overridden(directory, WRAPPED, AUTH_FILE="/run/user/1000/auth.json"))


def test_variables_without_the_prefix_are_nobodys(directory: Path):
    assert str(load(directory, WRAPPED, {"HTTP_ADDR": "127.0.0.1:1"}).address()) == "127.0.0.1:5055"


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("HTTP_ADDR", "[", "REGISTRY_HTTP_ADDR: the value is not YAML"),
        ("HTTP_ADDR", "2024-99-99", "REGISTRY_HTTP_ADDR: the value is not YAML"),
        ("HTTP_ADDR_HOST", "x", "REGISTRY_HTTP_ADDR_HOST: there is a value, not a section, above 'host'"),
        (
            "MIDDLEWARE_STORAGE_7_NAME",
            "x",
            "REGISTRY_MIDDLEWARE_STORAGE_7_NAME: '7' is not a place in a list",
        ),
        ("MIDDLEWARE_STORAGE_X", "x", "REGISTRY_MIDDLEWARE_STORAGE_X: 'x' is not a place in a list of 1"),
        ("AUTH", "htpasswd", "auth.htpasswd.realm: this option is required"),
        ("HTTP_ADR", "x", "http.adr: there is no such option (did you mean 'addr'?)"),
    ],
)
def test_a_variable_that_cannot_be_is_told_in_one_line(directory: Path, name: str, value: str, words: str):
    assert words in refusal(directory, WRAPPED, {f"REGISTRY_{name}": value})


@settings(max_examples=examples(150), deadline=None)
@given(
    steps=st.lists(
        st.sampled_from(["http", "addr", "storage", "0", "1", "", "s3"]) | st.text("ab0", max_size=3)
    ),
    value=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12),
)
def test_whatever_the_variables_say_is_built_or_refused_in_one_line(steps: list[str], value: str):
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "config.yml"
        file.write_text("storage: {inmemory: }\nmiddleware: {storage: []}")
        variable = "_".join(["REGISTRY", *steps]).upper()

        refused = line_of_refusal(lambda: build(Config.load(file, {variable: value})))

    assert refused is None or (refused.startswith(f"{file}") and refused.isprintable())
