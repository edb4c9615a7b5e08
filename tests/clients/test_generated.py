"""Clients generated from the contract: each is generated, compiled with all checks, and used."""

import hashlib
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.clients.conftest import check
from tests.clients.tools import CONTRACT, HERE, VENV, cached, debian, run, tool
from tests.support.process import ROOT

pytestmark = [pytest.mark.clients, pytest.mark.timeout(600)]


class Client(NamedTuple):
    """A compiled client: `call` takes the gateway's URL and a user's name, and returns the answers as JSON."""

    call: Callable[[str, str], str]
    asks_for_problems: bool = False


def npm_packages() -> Path:
    npm = debian("npm", "npm")

    def fetch(folder: Path) -> None:
        run(npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", cwd=folder)

    return cached("npm", [HERE / "npm" / name for name in ("package.json", "package-lock.json")], fetch)


def openapi_typescript(folder: Path) -> Client:
    node, packages = debian("node", "nodejs"), npm_packages()
    programs = packages / "node_modules" / ".bin"
    shutil.copytree(HERE / "npm", folder, dirs_exist_ok=True)
    (folder / "node_modules").symlink_to(packages / "node_modules")
    run(programs / "openapi-typescript", CONTRACT, "--output", "schema.d.ts", cwd=folder)
    run(programs / "tsc", "--project", ".", cwd=folder)
    return Client(lambda url, username: run(node, "generated.js", url, username, cwd=folder))


def openapi_python_client(folder: Path) -> Client:
    generator = tool("openapi-python-client", "run make clients-test, which installs it")
    package = folder / "video_platform_user_api_client"
    config = HERE / "python" / "openapi-python-client.yaml"
    arguments = [f"--config={config}", f"--path={CONTRACT}", f"--output-path={package}", "--meta=none"]
    run(generator, "generate", *arguments, cwd=folder)
    shutil.copy(HERE / "python" / "generated.py", folder)
    mypy = [sys.executable, "-m", "mypy", "--strict", "--config-file=", f"--python-executable={VENV / 'python'}"]
    run(*mypy, "generated.py", package, cwd=folder)
    return Client(lambda url, username: run(VENV / "python", "generated.py", url, username, cwd=folder))


def oapi_codegen(folder: Path) -> Client:
    go = debian("go", "golang")
    shutil.copytree(HERE / "go", folder, dirs_exist_ok=True)
    (folder / "api").mkdir()
    run(go, "tool", "oapi-codegen", "-config", "oapi-codegen.yaml", "-o", "api/api.go", CONTRACT, cwd=folder)
    run(go, "vet", ".", "./api", cwd=folder)
    run(go, "build", "-o", "client", ".", cwd=folder)
    return Client(lambda url, username: run(folder / "client", url, username, cwd=folder))


def jars() -> Path:
    mvn = debian("mvn", "maven")
    known = dict(line.split()[::-1] for line in (HERE / "java" / "jars.sha256").read_text().splitlines())

    def fetch(folder: Path) -> None:
        plugin = "org.apache.maven.plugins:maven-dependency-plugin:3.9.0:copy-dependencies"
        run(mvn, "--batch-mode", "--strict-checksums", plugin, f"-DoutputDirectory={folder}", cwd=folder)
        assert {jar.name: hashlib.sha256(jar.read_bytes()).hexdigest() for jar in folder.glob("*.jar")} == known

    return cached("java", [HERE / "java" / name for name in ("pom.xml", "jars.sha256")], fetch)


def openapi_generator(folder: Path) -> Client:
    java, javac, packages = debian("java", "default-jdk-headless"), debian("javac", "default-jdk-headless"), jars()
    (generator,) = packages.glob("openapi-generator-cli-*.jar")
    classpath = ":".join([".", *(str(jar) for jar in packages.glob("*.jar") if jar != generator)])
    only = "apis,models,supportingFiles,apiTests=false,modelTests=false,apiDocs=false,modelDocs=false"
    arguments = ["-g", "java", "--library", "native", "--global-property", only]
    arguments.append("--additional-properties=containerDefaultToNull=true")
    run(java, "-jar", generator, "generate", "-i", CONTRACT, "-o", "generated", *arguments, cwd=folder)
    sources = [str(source) for source in (folder / "generated" / "src" / "main").rglob("*.java")]
    driver = HERE / "java" / "Generated.java"
    run(javac, "-encoding", "UTF-8", "-Werror", "-cp", classpath, "-d", ".", driver, *sources, cwd=folder)
    return Client(
        lambda url, username: run(java, "-cp", classpath, "Generated", url, username, cwd=folder),
        asks_for_problems=True,
    )


@pytest.fixture(
    scope="module",
    params=[openapi_typescript, openapi_python_client, oapi_codegen, openapi_generator],
    ids=lambda generator: generator.__name__,
)
def client(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Client:
    generated: Client = request.param(tmp_path_factory.mktemp(request.param.__name__))
    return generated


def test_generated_client_understands_each_answer(client: Client, url: str, username: str) -> None:
    answers = json.loads(client.call(url, username))
    check(answers, username, problems=client.asks_for_problems)


def test_linter_finds_nothing_in_the_contract() -> None:
    redocly = npm_packages() / "node_modules" / ".bin" / "redocly"
    run(redocly, "lint", cwd=ROOT, env={"REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"})
