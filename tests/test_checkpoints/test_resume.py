import pytest
import torch

from mmvision_mamba.checkpoints.resume import checkpoint_to_resume
from mmvision_mamba.engine import InputError


def save(path):
    torch.save(dict(state_dict=dict(w=torch.zeros(1000))), path)
    return str(path)


def truncate(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def test_a_folder_in_which_no_run_began_gives_none(tmp_path):
    assert checkpoint_to_resume(str(tmp_path / 'absent')) is None
    (tmp_path / 'config.py').write_text('')
    assert checkpoint_to_resume(str(tmp_path)) is None


def test_the_pointer_is_followed_by_name_from_any_folder(tmp_path):
    wanted = save(tmp_path / 'epoch_2.pth')
    save(tmp_path / 'epoch_3.pth')
    (tmp_path / 'last_checkpoint').write_text('work_dirs/elsewhere/epoch_2.pth')
    assert checkpoint_to_resume(str(tmp_path)) == wanted


def test_without_a_pointer_the_newest_by_number_is_taken(tmp_path):
    save(tmp_path / 'iter_900.pth')
    wanted = save(tmp_path / 'iter_4000.pth')
    save(tmp_path / 'best_mIoU_iter_9000.pth')
    assert checkpoint_to_resume(str(tmp_path)) == wanted


def test_a_truncated_checkpoint_is_passed_over_for_the_one_before(tmp_path):
    wanted = save(tmp_path / 'epoch_1.pth')
    save(tmp_path / 'epoch_2.pth')
    truncate(tmp_path / 'epoch_2.pth')
    (tmp_path / 'last_checkpoint').write_text('epoch_2.pth')
    assert checkpoint_to_resume(str(tmp_path)) == wanted


def test_a_folder_with_no_whole_checkpoint_never_starts_from_scratch(tmp_path):
    save(tmp_path / 'epoch_1.pth')
    truncate(tmp_path / 'epoch_1.pth')
    with pytest.raises(InputError, match=r'no checkpoint in .* can be read \(epoch_1.pth\)'):
        checkpoint_to_resume(str(tmp_path))


def test_a_pointer_to_a_checkpoint_that_is_gone_never_starts_from_scratch(tmp_path):
    (tmp_path / 'last_checkpoint').write_text('epoch_7.pth')
    with pytest.raises(InputError, match=r'epoch_7.pth'):
        checkpoint_to_resume(str(tmp_path))
