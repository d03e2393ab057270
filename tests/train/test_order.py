"""Steps of texts of like length: every row once an epoch, less padding, and an order that a resumed run repeats."""

from itertools import chain

import pytest
import torch
from accelerate.data_loader import prepare_data_loader
from torch.utils.data import DataLoader
from toys import Collate, Rows, bert, distance, trainer, weights
from transformers import TrainerCallback
from transformers.trainer_utils import get_last_checkpoint

from sparring.errors import SettingError
from sparring.train.order import ByLength

LENGTHS = torch.randint(4, 60, (203,), generator=torch.Generator().manual_seed(0)).tolist()
STEP = 8


def steps_of(order, size=STEP):
    return [order[start : start + size] for start in range(0, len(order), size)]


def padded(order):
    return sum(len(step) * max(LENGTHS[row] for row in step) for step in steps_of(order))


def test_every_epoch_has_every_row_once_and_an_order_of_its_own():
    order = ByLength(LENGTHS, STEP, seed=3)
    epochs = []
    for epoch in range(3):
        order.set_epoch(epoch)
        epochs.append(list(order))
        assert sorted(epochs[-1]) == list(range(len(LENGTHS)))
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]
    again = ByLength(LENGTHS, STEP, seed=3)
    again.set_epoch(2)
    assert list(again) == epochs[2]
    assert list(ByLength(LENGTHS, STEP, seed=4)) != epochs[0]


def test_rows_meet_other_rows_in_another_epoch():
    order = ByLength(LENGTHS, STEP, seed=0)
    first = {frozenset(step) for step in steps_of(list(order))}
    order.set_epoch(1)
    assert len(first & {frozenset(step) for step in steps_of(list(order))}) <= 1


def test_a_step_is_hardly_padded_and_lengths_do_not_rise_over_an_epoch():
    order = list(ByLength(LENGTHS, STEP, seed=0))
    assert padded(order) < 1.15 * sum(LENGTHS)
    shuffled = torch.randperm(len(LENGTHS), generator=torch.Generator().manual_seed(0)).tolist()
    assert padded(shuffled) > 1.5 * sum(LENGTHS)
    tops = torch.tensor([float(max(LENGTHS[row] for row in step)) for step in steps_of(order)])
    assert abs(torch.corrcoef(torch.stack([tops, torch.arange(len(tops), dtype=torch.float)]))[0, 1]) < 0.5


@pytest.mark.parametrize("rows", [1, 7, 8, 9, 33])
def test_no_row_is_lost_where_steps_are_not_full(rows):
    assert sorted(ByLength(LENGTHS[:rows], STEP, seed=0)) == list(range(rows))


def test_a_step_that_is_not_full_comes_last():
    order = ByLength(list(range(60)), STEP, seed=0)  # pools of 24, 24 and 12
    for epoch in range(12):
        order.set_epoch(epoch)
        last = list(order)[-12:]
        assert sorted(last)[-4:] == last[-4:]  # the longest four of the last pool; the eight before them are one step


class StopAt(TrainerCallback):
    """Ends a run after a step, as an interruption would."""

    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        control.should_training_stop = state.global_step == self.step


class Seen(Collate):
    """Remembers the tokens of every row it was given."""

    def __init__(self):
        super().__init__()
        self.rows = []

    def __call__(self, rows):
        self.rows.append([tuple(row["input_ids"]) for row in rows])
        return super().__call__(rows)


def run(folder, collate, until=None):
    made = trainer(
        folder, "smart", model=bert(dropout=0.1), rows=Rows(45), collate=collate, num_train_epochs=3,
        per_device_train_batch_size=4, gradient_accumulation_steps=2, train_sampling_strategy="group_by_length",
        save_strategy="steps", save_steps=4,
    )  # fmt: skip
    if until:
        made.add_callback(StopAt(until))
    made.train(resume_from_checkpoint=get_last_checkpoint(folder) if folder.is_dir() else None)
    return made


def test_the_trainer_groups_rows_by_length_and_a_resumed_run_ends_with_the_same_bits(tmp_path):
    seen = Seen()
    whole = run(tmp_path / "whole", seen)
    micros = len(seen.rows) // 3
    epochs = [seen.rows[number * micros : (number + 1) * micros] for number in range(3)]
    assert sorted(chain(*epochs[0])) == sorted(chain(*epochs[2])) and epochs[0] != epochs[1]
    spread = [max(map(len, batch)) - min(map(len, batch)) for batch in seen.rows]
    assert sum(spread) / len(spread) <= 1.5  # of lengths of 4 to 12
    run(tmp_path / "parts", Collate(), until=8)
    assert {path.name for path in (tmp_path / "parts").glob("checkpoint-*")} == {"checkpoint-4", "checkpoint-8"}
    parts = run(tmp_path / "parts", Collate())
    assert parts.state.global_step == whole.state.global_step == 18
    assert distance(weights(parts), weights(whole)) == 0


def test_rows_whose_length_cannot_be_told_are_refused(tmp_path):
    rows = [{"inputs_embeds": [0.0], "labels": 0}] * 8
    made = trainer(tmp_path, rows=rows, train_sampling_strategy="group_by_length")
    with pytest.raises(SettingError, match="no 'input_ids'"):
        made.get_train_dataloader()


def test_processes_share_each_step_and_follow_the_same_epoch():
    order = ByLength(LENGTHS, STEP, seed=0)
    loader = DataLoader(range(len(LENGTHS)), batch_size=STEP // 2, sampler=order, collate_fn=list)
    parts = [prepare_data_loader(loader, num_processes=2, process_index=place, put_on_device=False) for place in (0, 1)]
    for epoch in (0, 3):
        for part in parts:
            part.set_epoch(epoch)
        one, two = map(list, parts)
        order.set_epoch(epoch)
        steps = steps_of(list(order))
        assert len(one) == len(two) == len(steps)
        assert [a + b for a, b in zip(one, two, strict=True)][:-1] == steps[:-1]  # the last one is filled up
