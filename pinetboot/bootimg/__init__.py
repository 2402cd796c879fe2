"""boot.img: a Pi's boot tree as one FAT file system, which its firmware loads whole (reference 3.6, 4.4)."""
