"""Public weights are downloaded once, and never used unless they are the published ones."""

import hashlib
import io

import pytest
import torch
from torch import nn

from dataset.extraction.weights import VGGISH_WEIGHTS, load_public_weights
from tests.server import serving
from utils.errors import InputError

pytest.importorskip("gdown")


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """PyTorch's cache, empty."""
    monkeypatch.setattr("utils.download.RETRIES", 0)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return tmp_path / "hub/checkpoints"


def test_published_file_is_downloaded_once_and_again_where_it_is_damaged(cache):
    published, network = nn.Linear(3, 2), nn.Linear(3, 2)
    buffer = io.BytesIO()
    torch.save(published.state_dict(), buffer)
    contents = buffer.getvalue()
    with serving() as server:
        server.files["vggish"] = contents
        file = VGGISH_WEIGHTS._replace(
            url=server.url("vggish"), digest=f"sha256:{hashlib.sha256(contents).hexdigest()[:8]}"
        )
        for _ in range(2):
            load_public_weights(network, file, None)
            assert server.requests == [("vggish", 0)]
        (cache / file.name).write_bytes(contents[:-1000])
        load_public_weights(network, file, None)
        assert len(server.requests) == 2
    assert (cache / file.name).read_bytes() == contents
    assert torch.equal(network.weight, published.weight)


def test_file_with_another_hash_is_never_loaded(cache):
    with serving() as server:
        server.files["vggish"] = b"something else"
        with pytest.raises(InputError, match=r"expected 10086976\. Get vggish-10086976\.pth in another"):
            load_public_weights(None, VGGISH_WEIGHTS._replace(url=server.url("vggish")), None)
    assert list(cache.iterdir()) == []


def test_without_a_network_the_sentence_names_the_file_and_the_flag(cache):
    with serving() as server:
        url = server.url("vggish")
    with pytest.raises(InputError, match=r"not available: .* in another way, and name its directory with --weights"):
        load_public_weights(None, VGGISH_WEIGHTS._replace(url=url), None)
