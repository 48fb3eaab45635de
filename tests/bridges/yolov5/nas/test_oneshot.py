"""One-shot search: costs and penalties by hand, exports, inheritance, kills, bad input."""

import itertools
import random
from collections import Counter

import pytest
import torch
from torch import nn

import bridges.yolov5.nas.oneshot_strategies as strategies
from bridges.yolov5.data.dataset import read_detection_data
from bridges.yolov5.data.synthetic import write_shapes
from bridges.yolov5.detector.cost import count_torch_cost
from bridges.yolov5.nas.architecture import FoundArchitecture
from bridges.yolov5.nas.controller import Controller
from bridges.yolov5.nas.inherit import inherit
from bridges.yolov5.nas.oneshot import OneShotSettings, Space, quiet_nni, search_oneshot
from bridges.yolov5.nas.oneshot_strategies import (
    STRATEGIES,
    Darts,
    Enas,
    MacsPenalty,
    alphas,
    most_probable,
    option_probabilities,
    set_choices,
)
from bridges.yolov5.nas.proxies import ClassificationProxy, DetectionProxy, digits_proxy
from bridges.yolov5.nas.space_cost import SpaceCost, measure_space
from models.yolov5.architecture_file import parse_architecture
from models.yolov5.build import Classifier
from models.yolov5.search_space import (
    as_space,
    build_backbone_space,
    frozen_pick,
    list_choices,
    plain_choices,
)
from tfcompress.errors import ConfigError

quiet_nni()


def classifier(space):
    return lambda pick: Classifier(build_backbone_space(space, pick), 10)


def some_choices(space, seed):
    generator = random.Random(seed)
    return {label: generator.choice(options) for label, options in list_choices(space).items()}


TINY = parse_architecture(
    "backbone: [[-1, 1, Conv, [8, 3, 2]], [-1, 1, NASBlock, [8, 1]], [-1, 1, NASBlock, [16, 2]]]",
    "the test",
    "tiny",
)


@pytest.fixture(scope="module")
def proxy():
    digits = digits_proxy(16)
    return ClassificationProxy(digits.images[:128], digits.labels[:128], 10, batch=16)


@pytest.mark.parametrize("space", ["yolov5n", "blocks_nas"])
def test_the_spaces_cost_is_that_of_each_of_its_networks(space):
    """Against fvcore on the frozen network."""
    cost = measure_space(classifier(space), (3, 64, 64))
    assert cost.options == list_choices(space)
    for seed in range(4):
        choices = some_choices(space, seed)
        frozen = classifier(space)(frozen_pick(choices))
        assert cost.of(choices) == count_torch_cost(frozen, (3, 64, 64)).macs


def test_expected_macs_by_hand():
    """Of one choice between 3x3 and 1x1: the mean weighted by their probabilities."""

    def network(pick):
        wide, point = lambda: nn.Conv2d(2, 4, 3, padding=1), lambda: nn.Conv2d(2, 4, 1)
        return nn.Sequential(pick("a", {"k3": wide, "k1": point}))

    cost = measure_space(network, (2, 5, 5))
    big, small = 25 * 2 * 4 * 9, 25 * 2 * 4
    assert (cost.of({"a": "k3"}), cost.of({"a": "k1"})) == (big, small)
    p = torch.tensor([0.25, 0.75], requires_grad=True)
    expected = cost.expected({"a": p})
    assert expected.item() == 0.25 * big + 0.75 * small
    expected.backward()
    assert p.grad.tolist() == [big, small]
    assert cost.uniform() == (big + small) / 2


def test_expected_macs_are_the_mean_of_the_samples():
    """Nested and shared choices, too: against 4,000 drawn architectures."""
    cost = measure_space(classifier("yolov5n"), (3, 64, 64))
    generator = random.Random(0)
    draws = [
        cost.of({label: generator.choice(options) for label, options in cost.options.items()})
        for _ in range(4000)
    ]
    assert sum(draws) / len(draws) == pytest.approx(cost.uniform(), rel=0.02)


def supernet_of(strategy, space=TINY):
    return strategy.mutate_model(Space(classifier(space)))


def test_the_macs_penalty_has_a_gradient_in_every_choice():
    cost = measure_space(classifier(TINY), (3, 16, 16))
    torch.manual_seed(0)
    supernet = supernet_of(Darts())
    penalty = MacsPenalty(cost, cost.uniform(), weight=0.5)
    penalty.expected(option_probabilities(supernet)).backward()
    for label, alpha in alphas(supernet).items():
        gradient = dict(zip(cost.options[label], alpha.grad.tolist(), strict=True))
        assert gradient["residual_k5"] == max(gradient.values()) > 0
        assert gradient["identity"] < 0 or gradient["maxpool_k3"] < 0


def test_below_the_budget_macs_cost_nothing_more():
    cost = measure_space(classifier(TINY), (3, 16, 16))
    supernet = supernet_of(Darts())
    shares = option_probabilities(supernet)
    expected = cost.expected(shares).item()
    penalty = MacsPenalty(cost, 2 * expected, weight=0.5, budget=0.8)
    value = penalty.expected(shares)
    assert value.item() == pytest.approx(0.5 * (0.8 - 1))  # half the baseline is below the budget
    value.backward()
    assert all(float(alpha.grad.abs().sum()) == 0 for alpha in alphas(supernet).values())
    cheapest = dict.fromkeys(cost.options, "identity")
    assert penalty.of(cheapest) == pytest.approx(-0.1)


def test_what_would_be_exported_is_charged():
    """Probabilities 0.6 and 0.4 of options of 10 and 30 MACs: 10 are charged, not 18."""
    cost = SpaceCost({"a": ("cheap", "dear")}, {(("a", "cheap"),): 10, (("a", "dear"),): 30})
    alpha = torch.tensor([0.6, 0.4]).log().requires_grad_()
    charged = cost.expected(most_probable({"a": alpha.softmax(-1)}))
    assert charged.item() == pytest.approx(10)
    charged.backward()
    # d/d alpha of 10 p + 30 (1 - p) is -20 p (1 - p) = -4.8 for the cheap one
    assert alpha.grad.tolist() == pytest.approx([-4.8, 4.8])


def test_nnis_own_penalty_is_made_of_plain_numbers():
    """What its DARTS hands to a penalty: floats, so that no gradient comes back from it."""
    supernet = supernet_of(strategies.nni_strategy.DARTS())
    values = [
        value
        for part in supernet.modules()
        if hasattr(part, "_arch_alpha")
        for option in part.export_probs({}).values()
        for value in option.values()
    ]
    assert values
    assert {type(value) for value in values} == {float}


def test_a_heavy_penalty_alone_finds_the_cheapest_network(proxy, tmp_path):
    """With its weight at 100 the architecture parameters go downhill in MACs."""
    heavy = {"macs_weight": 100, "macs_budget": 0}
    settings = OneShotSettings("darts", epochs=4, warmup_epochs=0, choice_rate=0.5, **heavy)
    result = search_oneshot(TINY, proxy, settings, tmp_path)
    cost = measure_space(classifier(TINY), proxy.shape)
    everything = itertools.product(*cost.options.values())
    assert result.macs == min(
        cost.of(dict(zip(cost.options, names, strict=True))) for names in everything
    )
    assert result.history[-1]["expected_macs"] < result.history[0]["expected_macs"]
    assert result.history[-1]["likeliest_macs"] == result.macs


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_exports_an_architecture_with_its_weights(strategy, proxy, tmp_path):
    rows = []
    result = search_oneshot(TINY, proxy, OneShotSettings(strategy, epochs=2), tmp_path, rows.append)
    assert [row["epoch"] for row in rows] == [1, 2]
    assert tuple(rows) == result.history
    chosen = result.architecture.choices
    assert {type(text) for item in chosen.items() for text in item} == {str}
    assert all(sum(p.values()) == pytest.approx(1, abs=1e-5) for p in result.probabilities.values())
    if strategy in ("darts", "gumbel", "proxyless"):
        for label, p in result.probabilities.items():
            assert p[result.architecture.choices[label]] == max(p.values())
    # the frozen network with inherited weights is the supernet with that choice fixed
    frozen = result.network(classifier(TINY)).eval()
    supernet = result.supernet.eval()
    if strategy in ("enas", "random", "proxyless"):
        set_choices(supernet, result.architecture.choices)
    else:
        for label, alpha in alphas(supernet).items():
            index = list_choices(TINY)[label].index(result.architecture.choices[label])
            alpha.data.fill_(-1e4)
            alpha.data[index] = 1e4
    if strategy == "gumbel":  # its softmax draws
        for part in supernet.modules():
            if hasattr(part, "_softmax"):
                part._softmax = nn.Softmax(-1)
    x = torch.rand(2, 3, 16, 16)
    torch.testing.assert_close(frozen(x), supernet(x), rtol=1e-5, atol=1e-5)


def test_the_space_of_yolov5_inherits_through_nested_choices(tmp_path):
    torch.manual_seed(0)
    cost = measure_space(classifier("yolov5n"), (3, 64, 64))
    strategy = Enas(cost.options)
    supernet = supernet_of(strategy, "yolov5n").network.eval()
    x = torch.rand(1, 3, 64, 64)
    for seed in range(4):
        choices = some_choices("yolov5n", seed)
        frozen = classifier("yolov5n")(frozen_pick(choices)).eval()
        inherit(supernet, frozen, choices)
        set_choices(supernet, choices)
        torch.testing.assert_close(frozen(x), supernet(x), rtol=1e-5, atol=1e-5)


def test_a_search_is_reproduced_from_its_seed(proxy, tmp_path):
    results = [
        search_oneshot(TINY, proxy, OneShotSettings(epochs=2, seed=seed), tmp_path / name)
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    assert results[0].architecture.choices == results[1].architecture.choices
    assert results[0].history == results[1].history
    assert results[0].history != results[2].history


class Killed(Exception):
    pass


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_killed_search_goes_on(strategy, proxy, tmp_path):
    def kill(row):
        if row["epoch"] == 2:
            raise Killed

    settings = OneShotSettings(strategy, epochs=3)
    with pytest.raises(Killed):
        search_oneshot(TINY, proxy, settings, tmp_path, kill)
    seen = []
    result = search_oneshot(TINY, proxy, settings, tmp_path, seen.append)
    assert [row["epoch"] for row in seen][-1] == 3
    assert len(seen) < 3
    assert [row["epoch"] for row in result.history] == [1, 2, 3]
    assert set(result.architecture.choices) == set(list_choices(TINY))


def test_detection_itself_can_be_searched_on(tmp_path):
    data = read_detection_data(write_shapes(tmp_path / "shapes", counts=(16, 4, 4), size=64))
    proxy = DetectionProxy(data, side=64, batch=4)
    settings = OneShotSettings("enas", epochs=2, warmup_epochs=0, macs_weight=0)
    result = search_oneshot("yolov5n", proxy, settings, tmp_path / "search")
    assert 0 < result.history[0]["reward"] < 1.1
    plain = FoundArchitecture(as_space("yolov5n"), plain_choices("yolov5n")).detector(data.names)
    assert result.plain_macs == count_torch_cost(plain, proxy.shape).macs
    names = dict(result.network(proxy.builder(as_space("yolov5n"))).named_parameters())
    assert "model.24.m.0.weight" in names


OPTIONS = {"a": ("x", "y", "z"), "b": ("x", "y"), "c": ("p", "q", "r", "s")}


def trained_controller(seed, wanted):
    torch.manual_seed(seed)
    controller = Controller(OPTIONS)
    optimizer = torch.optim.Adam(controller.parameters(), 0.01)
    for _ in range(400):
        written = controller.write()
        reward = sum(written.choices[label] == option for label, option in wanted.items()) / 3
        optimizer.zero_grad()
        controller.loss(written, reward, 1e-4).backward()
        optimizer.step()
    return controller


@pytest.mark.parametrize(
    "seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)]
)
def test_a_converged_controller_exports_what_it_samples_most(seed):
    wanted = {"a": "z", "b": "x", "c": "q"}
    controller = trained_controller(seed, wanted)
    with torch.no_grad():
        exports = [controller.write(most_probable=True).choices for _ in range(20)]
        samples = Counter(tuple(controller.write().choices.items()) for _ in range(400))
    assert exports == [wanted] * 20
    assert samples.most_common(1)[0][0] == tuple(wanted.items())


def test_a_new_controller_is_nearly_even():
    torch.manual_seed(0)
    with torch.no_grad():
        written = Controller(OPTIONS).write()
    for label, names in OPTIONS.items():
        assert written.probabilities[label] == pytest.approx(
            [1 / len(names)] * len(names), abs=0.02
        )


def test_bad_settings():
    with pytest.raises(ConfigError, match="'evolution' is unknown; use|unknown. Fix: use darts"):
        OneShotSettings("evolution")
    with pytest.raises(ConfigError, match="2 with 2 of warm-up leave none"):
        OneShotSettings(epochs=2, warmup_epochs=2)
    with pytest.raises(ConfigError, match="macs_weight: it is -1"):
        OneShotSettings(macs_weight=-1)
