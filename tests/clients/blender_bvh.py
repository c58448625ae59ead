"""Import an exported BVH into Blender and compare every bone of every frame with the recording.

Run it with a Python that has Blender's module (`pip install bpy`, not one of the project's):

    python tests/clients/blender_bvh.py take.npz 1 take_p1.bvh picture.png

It needs neither xnect nor scipy: it reads the recording with numpy alone, as a stranger would.
Exit code 0: names and rest pose are right, and no bone is further than 0.1 mm from its joint.
"""

from __future__ import annotations

import json
import sys

import numpy as np

BONES = {
    "Hips": "pelvis", "Spine": "spine", "Neck": "neck", "Head": "head",
    "LeftArm": "left_shoulder", "LeftForeArm": "left_elbow", "LeftHand": "left_wrist",
    "RightArm": "right_shoulder", "RightForeArm": "right_elbow", "RightHand": "right_wrist",
    "LeftUpLeg": "left_hip", "LeftLeg": "left_knee", "LeftFoot": "left_ankle",
    "RightUpLeg": "right_hip", "RightLeg": "right_knee", "RightFoot": "right_ankle",
}  # fmt: skip
TIPS = {"Head": "head_top", "LeftHand": "left_hand", "RightHand": "right_hand",
        "LeftFoot": "left_foot", "RightFoot": "right_foot"}  # fmt: skip
BLENDER_FROM_WORLD = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]])  # y up -> z up


def main(npz: str, track_id: int, path: str, picture: str) -> int:
    """Compare, draw, print what was found; 0 when all is well."""
    import bpy

    with np.load(npz, allow_pickle=False) as arrays:
        rows = arrays["track_id"] == track_id
        frames = arrays["person_frame"][rows] - arrays["person_frame"][rows][0]
        joints_m = arrays["joints3d_m"][rows].astype(float)
        said = json.loads(str(arrays["description_json"]))
    number = {name: i for i, name in enumerate(said["skeleton"]["joints3d_names"])}
    joints_m = joints_m @ np.array(said["axes"]["world_from_camera"]).T @ BLENDER_FROM_WORLD.T

    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.import_anim.bvh(filepath=path, global_scale=0.01, update_scene_fps=True)
    rig = bpy.context.object
    scene = bpy.context.scene
    first, last = rig.animation_data.action.frame_range
    print(
        f"Blender {bpy.app.version_string}: {len(rig.data.bones)} bones, "
        f"{last - first + 1:.0f} frames at {scene.render.fps / scene.render.fps_base:.3f} fps"
    )
    assert {bone.name for bone in rig.data.bones} == set(BONES)

    for side, sign in (("Left", 1), ("Right", -1)):
        for name, down in (("Arm", (sign, 0, 0)), ("ForeArm", (sign, 0, 0)), ("Hand", (sign, 0, 0)),
                           ("UpLeg", (0, 0, -1)), ("Leg", (0, 0, -1))):  # fmt: skip
            bone = rig.data.bones[side + name]
            along = np.array(rig.matrix_world.to_3x3() @ (bone.tail_local - bone.head_local))
            along /= np.linalg.norm(along)
            assert np.allclose(along, down, atol=1e-5), (bone.name, along)
    print("rest pose: arms along +-x, legs along -z (down)")

    worst_mm = 0.0
    for frame, want in zip(frames, joints_m, strict=True):
        scene.frame_set(int(frame) + 1)
        for bone_name, joint in BONES.items():
            head = rig.matrix_world @ rig.pose.bones[bone_name].head
            worst_mm = max(worst_mm, 1000 * np.abs(np.array(head) - want[number[joint]]).max())
        for bone_name, joint in TIPS.items():
            tail = rig.matrix_world @ rig.pose.bones[bone_name].tail
            worst_mm = max(worst_mm, 1000 * np.abs(np.array(tail) - want[number[joint]]).max())
    print(
        f"largest distance of a bone's end from its joint: {worst_mm:.4f} mm, {len(frames)} frames"
    )
    render(rig, int(frames[len(frames) // 2]) + 1, picture)
    return int(worst_mm > 0.1)


def render(rig, frame: int, picture: str) -> None:
    """A picture of the figure in one frame, left, and in its rest pose, right, from the front."""
    import bpy
    from mathutils import Vector

    def sticks(ends):
        for head, tail in ends:
            middle, along = (head + tail) / 2, tail - head
            bpy.ops.mesh.primitive_cylinder_add(radius=0.025, depth=along.length, location=middle)
            stick = bpy.context.object
            stick.rotation_mode = "QUATERNION"
            stick.rotation_quaternion = along.to_track_quat("Z", "Y")

    scene = bpy.context.scene
    scene.frame_set(frame)
    world = rig.matrix_world
    pose = [(world @ b.head, world @ b.tail) for b in rig.pose.bones]
    beside = world @ rig.pose.bones["Hips"].head + Vector((1.6, 0, 0))
    rest = [(world @ b.head_local + beside, world @ b.tail_local + beside) for b in rig.data.bones]
    sticks(pose + rest)
    middle = beside - Vector((0.8, 0, 0))
    camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
    camera.location = middle + Vector((0, -5, 0.4))
    camera.rotation_euler = (middle - camera.location).to_track_quat("-Z", "Y").to_euler()
    light = bpy.data.objects.new("sun", bpy.data.lights.new("sun", "SUN"))
    light.rotation_euler = (0.6, 0.3, 0)
    light.data.energy = 4
    for thing in (camera, light):
        scene.collection.objects.link(thing)
    scene.camera = camera
    scene.world = bpy.data.worlds.new("world")
    scene.world.color = (0.5, 0.5, 0.5)
    scene.render.engine = "CYCLES"
    scene.cycles.samples = 8
    scene.cycles.device = "CPU"
    scene.render.threads_mode, scene.render.threads = "FIXED", 1
    scene.render.resolution_x, scene.render.resolution_y = 640, 400
    scene.render.filepath = picture
    bpy.ops.render.render(write_still=True)
    print(f"picture: {picture}")


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]))
