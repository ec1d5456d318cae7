"""What a command's start costs for nothing in other packages, put off or left out.

In processes of this package's own commands alone: none of this is done to others that import it.

mmdet's modules import scipy, imgaug, numba and pyplot at their top for a few models and transforms,
and all of mmdet is imported before any model is built: seconds of every command. Those modules are
stood in for by :class:`DeferredModule`; only mmdet and mmseg can tell.
"""

import gc
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

from torch.jit import _state as jit_state

_TOOLS = (Path(__file__).parents[1] / 'tools', Path(__file__).parent / '.mim' / 'tools')
# Modules, each with what mmdet and mmseg take from it by name and only ever call.
DEFERRED = {
    'imagecorruptions': ('corrupt',),
    'imgaug': (),
    'imgaug.augmentables': (),
    'imgaug.augmentables.lines': ('LineString', 'LineStringsOnImage'),
    'imgaug.augmentables.segmaps': ('SegmentationMapsOnImage',),
    'imgaug.augmenters': (),
    'matplotlib.pyplot': (),
    'scipy.interpolate': ('InterpolatedUnivariateSpline', 'splev', 'splprep'),
    'scipy.linalg': (),
    'scipy.ndimage': ('distance_transform_edt', 'gaussian_filter'),
    'scipy.optimize': ('linear_sum_assignment',),
    'scipy.sparse': ('csr_matrix',),
    'scipy.sparse.csgraph': ('maximum_bipartite_matching',),
}
_ASKING = ('mmdet', 'mmseg')


def in_own_command() -> bool:
    """Whether this process runs a file of tools/."""
    main = getattr(sys.modules['__main__'], '__file__', None)
    return main is not None and Path(main).resolve().parent in _TOOLS


def make_quick() -> None:
    """Have mmengine, mmdet and mmseg imported and run with less, from now on in this process."""
    defer_imports()
    with without_scripting():
        import mmengine.optim  # noqa: F401
    format_configs_once()


class DeferredModule(ModuleType):
    """Stands for a module until an attribute of it is asked for, and then hands on to it.

    A name in :data:`DEFERRED` that mmdet or mmseg takes is a function that imports the module when
    it is called. Whoever else takes it is given the module's own.
    """

    def __getattr__(self, name: str):
        asking = sys._getframe(1).f_globals.get('__name__', '').partition('.')[0]
        if asking in _ASKING and name in DEFERRED[self.__name__]:
            return self._call_later(name)
        # Other special names are asked of every module, as by inspect; __path__ by a from-import.
        loads = ('__all__',) if asking in _ASKING else ('__all__', '__path__', '__version__')
        if name.startswith('__') and name not in loads:
            raise AttributeError(f'module {self.__name__!r} has no attribute {name!r}')
        return getattr(self._load(), name)

    def _call_later(self, name: str) -> Callable:
        def call(*args, **kwargs):
            return getattr(self._load(), name)(*args, **kwargs)

        call.__name__ = call.__qualname__ = name
        return call

    def _load(self) -> ModuleType:
        parts = self.__name__.split('.')
        above = ('.'.join(parts[: i + 1]) for i in range(len(parts)))
        root = next(name for name in above if name in DEFERRED)
        for name in DEFERRED:
            module = sys.modules.get(name)
            if f'{name}.'.startswith(f'{root}.') and isinstance(module, DeferredModule):
                del sys.modules[name]
                parent, _, last = name.rpartition('.')
                if parent in sys.modules and vars(sys.modules[parent]).get(last) is module:
                    delattr(sys.modules[parent], last)
        return importlib.import_module(self.__name__)


class _AtFirstImport:
    """Finds nothing; has the modules stand there when mmdet or mmseg is about to be imported."""

    def find_spec(self, name: str, path=None, target=None) -> None:
        if name in _ASKING and self in sys.meta_path:
            sys.meta_path.remove(self)
            for module in DEFERRED:
                _defer(module)


def defer_imports() -> None:
    """Put off what mmdet and mmseg import, from now on; nothing if they are imported already."""
    if not any(isinstance(finder, _AtFirstImport) for finder in sys.meta_path) and not any(
        name in sys.modules for name in _ASKING
    ):
        sys.meta_path.insert(0, _AtFirstImport())


def _defer(name: str) -> None:
    parent, _, last = name.rpartition('.')
    if name in sys.modules or (not parent and importlib.util.find_spec(name) is None):
        return
    if parent and parent not in sys.modules:
        try:
            importlib.import_module(parent)
        except ImportError:  # not installed, as mmdet will say
            return
    module = DeferredModule(name)
    module.__spec__ = ModuleSpec(name, None)
    sys.modules[name] = module
    if parent:
        setattr(sys.modules[parent], last, module)


@contextmanager
def without_scripting() -> Iterator[None]:
    """Leave functions as they are that ``torch.jit.script`` decorates.

    MMEngine imports ``torch.distributed.optim``, which compiles eight optimizers for RPC.
    """
    enabled = bool(jit_state._enabled)
    jit_state.disable()
    try:
        yield
    finally:
        if enabled:
            jit_state.enable()


def format_configs_once() -> None:
    """Keep the text of the config that was formatted last, which a run's start asks for four times.

    yapf takes half a second for it.
    """
    from mmengine.config import Config

    stock = Config.pretty_text.fget
    if stock.__module__ == __name__:
        return
    kept: dict[str, str] = {}

    def pretty_text(self) -> str:
        content = repr(self._cfg_dict)
        if content not in kept:
            kept.clear()
            kept[content] = stock(self)
        return kept[content]

    Config.pretty_text = property(pretty_text, doc=stock.__doc__)


def keep_what_is_imported() -> None:
    """Collect garbage again in a command's process, and not among what its imports have made.

    tools/command_line.py has it off until then. In other processes, as a user's own, nothing.
    """
    if not gc.isenabled() or gc.get_freeze_count() > 0:
        gc.freeze()
        gc.enable()
