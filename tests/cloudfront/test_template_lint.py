"""cfn-lint has nothing to say about the template, in any of its variants, and no limit is near."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pytest
from lab.stacks import ACCOUNT, read_template
from lab.variants import CASES, template_of

needs_cfn_lint = pytest.mark.skipif(
    importlib.util.find_spec("cfnlint") is None, reason="cfn-lint is not installed; the extra 'dev' brings it"
)

EACH_CASE = pytest.mark.parametrize("name", CASES)

#: What the functions give at their longest, for the sizes of policies.
LONGEST = {
    "AWS::Partition": "aws-us-gov",
    "AWS::Region": "ap-northeast-1",
    "AWS::AccountId": ACCOUNT,
    "Bucket": "b" * 63,
    "Distribution": "E" + "1" * 13,
    "Distribution.DomainName": "d111111abcdef8.cloudfront.net",
}


def lint(text: str) -> list[str]:
    """Return what cfn-lint says of a template."""
    from cfnlint.api import lint as cfn_lint
    from cfnlint.config import ManualArgs

    arguments = ManualArgs(regions=["eu-west-3"], include_checks=["I", "W", "E"])
    return [str(match) for match in cfn_lint(text, config=arguments)]


@needs_cfn_lint
@EACH_CASE
def test_cfn_lint_has_nothing_to_say(name: str, tmp_path: Path):
    assert lint(template_of(name, tmp_path)) == []


@needs_cfn_lint
def test_cfn_lint_would_say_what_is_wrong(tmp_path: Path):
    text = template_of("plain", tmp_path)
    assert lint(text.replace("ViewerProtocolPolicy: https-only", "ViewerProtocolPolicy: https"))
    assert lint(text.replace("!Ref KeyGroup", "!Ref Keygroup"))


def longest(document: Any) -> str:
    """Return a policy as CloudFormation would hand it over, with names as long as they can be."""

    def replaced(value: Any) -> Any:
        if isinstance(value, list):
            return [replaced(item) for item in value]
        if not isinstance(value, dict):
            return value
        if value.keys() == {"Fn::Sub"}:
            return re.sub(r"\$\{([^!}]+)\}", lambda found: LONGEST.get(found[1], "K" * 14), value["Fn::Sub"])
        return {name: replaced(item) for name, item in value.items()}

    return json.dumps(replaced(document), separators=(",", ":"))


@EACH_CASE
def test_policies_outputs_and_the_template_stay_far_below_the_limits(name: str, tmp_path: Path):
    text = template_of(name, tmp_path)
    template = read_template(text)
    resources = template["Resources"]

    assert len(text.encode()) < 51_200 / 2
    assert len(longest(resources["BucketPolicy"]["Properties"]["PolicyDocument"])) < 20_480 / 4
    assert len(longest(resources["RegistryPolicy"]["Properties"]["PolicyDocument"])) < 6_144 / 2
    for output in template["Outputs"].values():
        assert len(output["Description"]) <= 1024
        assert len(longest(output["Value"]).encode()) <= 1024
    assert len(resources) <= 500
