"""The bundle: what is written comes back, and nothing damaged, foreign or pickled does."""

from __future__ import annotations

import json
import pickle

import pytest
import torch
from pydantic import TypeAdapter

from ganline.errors import BundleError
from ganline.files import sha256_file
from ganline.models import ImageSpec, ModelConfig
from ganline.registry.bundle import (
    DISCRIMINATOR,
    GENERATOR,
    ModelSpec,
    copy_bundle,
    extend_bundle,
    open_bundle,
    write_bundle,
    write_mixture,
)
from tests.unit.variants import FAMILIES

MODEL = TypeAdapter(ModelConfig)
MODELS = [MODEL.validate_python(options | {"class_conditional": True}) for options in FAMILIES.values()]
MLP, PIXELSHUFFLE = (MODEL.validate_python(FAMILIES[name]) for name in ("mlp", "pixelshuffle"))


def spec_of(model) -> ModelSpec:
    return ModelSpec(dataset="shapes", model=model, image=ImageSpec(resolution=8, channels=3), labels=("a", "b"))


def states(spec: ModelSpec) -> dict[str, dict[str, torch.Tensor]]:
    return {
        GENERATOR: spec.build_generator().state_dict(),
        DISCRIMINATOR: spec.build_discriminator().state_dict(),
    }


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_open_of_write_gives_the_same_tensors_and_spec(tmp_path, model):
    spec = spec_of(model)
    networks = states(spec)
    bundle_hash = write_bundle(tmp_path / "b", spec, networks=networks, extras={"card.md": b"# card"})
    bundle = open_bundle(tmp_path / "b")
    assert (bundle.spec, bundle.hash) == (spec, bundle_hash)
    for name, state in networks.items():
        back = bundle.state(name)
        assert back.keys() == state.keys()
        assert all(torch.equal(back[key], state[key]) for key in state)
    z, label = torch.randn(2, model.z_dim), torch.tensor([0, 1])
    G = spec.build_generator().eval()
    G.load_state_dict(networks[GENERATOR])
    assert torch.equal(bundle.generator()(z, label), G(z, label))
    assert not bundle.generator().training


def test_equal_weights_give_an_equal_hash_whatever_their_memory_format(tmp_path):
    spec = spec_of(PIXELSHUFFLE)
    G = spec.build_generator()
    plain = write_bundle(tmp_path / "plain", spec, networks={GENERATOR: G.state_dict()})
    last = G.to(memory_format=torch.channels_last).state_dict()
    assert write_bundle(tmp_path / "last", spec, networks={GENERATOR: last}) == plain
    nudged = {key: value + 1e-6 if value.is_floating_point() else value for key, value in last.items()}
    assert write_bundle(tmp_path / "nudged", spec, networks={GENERATOR: nudged}) != plain


def test_every_file_is_checked_byte_by_byte(make_bundle):
    folder = make_bundle()
    for path in sorted(folder.iterdir()):
        if path.name == "model.json":
            continue
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(BundleError, match=path.name) as error:
            open_bundle(folder)
        assert "damaged" in str(error.value)
        path.unlink()
        with pytest.raises(BundleError, match="missing"):
            open_bundle(folder)
        path.write_bytes(content)
    open_bundle(folder)


def test_a_changed_model_json_has_another_hash(make_bundle):
    folder = make_bundle()
    before = open_bundle(folder).hash
    content = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(content | {"dataset": "other"}))
    assert open_bundle(folder).hash != before == sha256_file(make_bundle(name="again") / "model.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 99}, "another format"),
        ({"files": {}}, "lists no generator"),
        ({"files": None}, "lists no generator"),
        ({"files": {GENERATOR: "0" * 64}}, "damaged"),
        ({"image": {"resolution": 8, "channels": 2}}, "is not a model"),
        ({"model": {"name": "unheard of"}}, "is not a model"),
        ({"surprise": 1}, "is not a model"),
    ],
)
def test_a_model_json_that_is_wrong_is_refused_in_words(make_bundle, change, message):
    folder = make_bundle()
    content = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(content | change))
    with pytest.raises(BundleError, match=message):
        open_bundle(folder)


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "sub/../../secret"])
def test_a_model_json_cannot_name_files_outside_the_bundle(make_bundle, name):
    folder = make_bundle()
    (folder.parent / "secret").write_bytes(b"secret")
    content = json.loads((folder / "model.json").read_text())
    content["files"][name] = sha256_file(folder.parent / "secret")
    (folder / "model.json").write_text(json.dumps(content))
    for reading in (lambda: open_bundle(folder), lambda: copy_bundle(folder, folder.parent / "copy")):
        with pytest.raises(BundleError, match="outside the bundle"):
            reading()


def test_a_pickle_in_place_of_the_weights_is_never_run(make_bundle):
    folder, marker = make_bundle(), make_bundle().parent / "ran"

    class Bomb:
        def __reduce__(self):
            return (marker.write_text, ("ran",))

    (folder / GENERATOR).write_bytes(pickle.dumps(Bomb()))
    content = json.loads((folder / "model.json").read_text())
    content["files"][GENERATOR] = sha256_file(folder / GENERATOR)
    (folder / "model.json").write_text(json.dumps(content))
    with pytest.raises(BundleError, match=GENERATOR):
        open_bundle(folder).generator()
    assert not marker.exists()


def test_weights_of_another_architecture_are_refused_in_words(tmp_path):
    spec = spec_of(MLP)
    other = spec_of(MLP.model_copy(update={"widths": (8,)})).build_generator().state_dict()
    write_bundle(tmp_path / "b", spec, networks={GENERATOR: other})
    with pytest.raises(BundleError, match="do not fit"):
        open_bundle(tmp_path / "b").generator()


def test_a_folder_without_a_bundle_is_refused(tmp_path):
    with pytest.raises(BundleError, match=r"no model\.json"):
        open_bundle(tmp_path / "nowhere")
    (tmp_path / "model.json").write_text("{")
    with pytest.raises(BundleError, match="not JSON"):
        open_bundle(tmp_path)


def test_copy_takes_the_bundles_own_files_only(make_bundle, tmp_path):
    folder = make_bundle()
    (folder / "stray.txt").write_text("not mine")
    copy = copy_bundle(folder, tmp_path / "copy")
    assert copy.hash == open_bundle(folder).hash
    assert "stray.txt" not in {path.name for path in copy.folder.iterdir()}


def test_extend_keeps_the_networks_and_replaces_the_extras(tmp_path):
    spec = spec_of(MLP)
    networks = states(spec)
    first = write_bundle(tmp_path / "a", spec, networks=networks, extras={"old.txt": b"old"})
    second = extend_bundle(tmp_path / "a", tmp_path / "b", {"card.md": b"# new"})
    bundle = open_bundle(tmp_path / "b")
    assert first != second == bundle.hash
    assert torch.equal(bundle.state(DISCRIMINATOR)["layers.0.weight"], networks[DISCRIMINATOR]["layers.0.weight"])
    assert {path.name for path in bundle.folder.iterdir()} == {"model.json", GENERATOR, DISCRIMINATOR, "card.md"}


def test_a_mixture_is_a_bundle_of_several_networks(tmp_path):
    spec = spec_of(PIXELSHUFFLE)
    folders = [tmp_path / str(number) for number in range(12)]
    for folder in folders:
        write_bundle(folder, spec, networks=states(spec))
    write_mixture(tmp_path / "mixture", folders)
    bundle, z, label = open_bundle(tmp_path / "mixture"), torch.randn(5, PIXELSHUFFLE.z_dim), torch.arange(5) % 2
    for network, folder in zip(bundle.networks(), folders, strict=True):
        assert torch.equal(network(z, label), open_bundle(folder).generator()(z, label))
    assert bundle.generator().z_dim == PIXELSHUFFLE.z_dim + 1
    extend_bundle(tmp_path / "mixture", tmp_path / "extended", {"card.md": b"# card"})
    assert len(open_bundle(tmp_path / "extended").networks()) == len(folders)


def test_a_bundle_that_is_written_over_another_leaves_no_old_file(tmp_path):
    spec = spec_of(MLP)
    write_bundle(tmp_path / "b", spec, networks=states(spec), extras={"old.txt": b"old"})
    write_bundle(tmp_path / "b", spec, networks={GENERATOR: states(spec)[GENERATOR]})
    assert open_bundle(tmp_path / "b").state(DISCRIMINATOR) == {}
    assert not (tmp_path / "b" / "old.txt").exists()
