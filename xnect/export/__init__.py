"""Motion formats.  Contract of a format `x`, in the file `xnect/export/x.py`:

* `def x(path, recording, track_id) -> Path` where a file holds one person,
  `def x(path, recording) -> Path` where it holds the take;
* the file is there whole or not at all (`xnect.atomic.replacing`), folders on the way are made;
* the Y-up world of `xnect.describe.WORLD_FROM_CAMERA`, so that the files of one take fit together;
* `BadInput` for what cannot be exported, `CannotWrite` for the disk; nothing is printed;
* a test reads the file back with a parser of its own and finds the recording's joints.
"""
