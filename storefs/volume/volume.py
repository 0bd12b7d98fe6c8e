"""The volume: one mounted tree as an object."""

from storefs.core.references import References
from storefs.engine.engine import Engine
from storefs.metrics import Metrics
from storefs.volume.attributes import Attributes
from storefs.volume.clone import Clone
from storefs.volume.contents import Contents
from storefs.volume.control import Control
from storefs.volume.exclusive import Exclusive
from storefs.volume.expiry import Expiry
from storefs.volume.files import Files
from storefs.volume.history import History
from storefs.volume.names import Names


class Volume:
    """The POSIX verbs and the control verbs of one tree, without FUSE."""

    def __init__(self, engine: Engine, references: References, metrics: Metrics, mountpoint: str) -> None:
        self.engine = engine
        self.references = references
        contents = Contents(engine)
        self.attributes = Attributes(engine, contents)
        self.names = Names(engine, self.attributes, references)
        self.exclusive = Exclusive(engine, self.names)
        self.history = History(engine)
        self.files = Files(engine, self.attributes, contents)
        self.cloner = Clone(engine, self.attributes, self.names)
        self.expiry = Expiry(engine, self.names)
        engine.upkeep.duties.append(self.expiry.run_once)
        self.control = Control(engine, self.attributes, self.names, self.cloner, metrics, mountpoint)
