# Builds everything with the sanitizers in PYCRYO_SANITIZE; the sessions `asan` and `tsan` of noxfile.py run it.

if(PYCRYO_SANITIZE)
  set(CMAKE_CXX_FLAGS_RELEASE "-O1") # assertions are on
  add_compile_options(-g1 -fno-omit-frame-pointer -fsanitize=${PYCRYO_SANITIZE})
  add_link_options(-fsanitize=${PYCRYO_SANITIZE}) # the runtime is loaded before Python
  if(PYCRYO_SANITIZE MATCHES undefined)
    # A NaN or a number beyond the integers that becomes one is undefined too, but not in the compilers' list.
    add_compile_options(-fsanitize=float-cast-overflow -fno-sanitize-recover=all)
    add_link_options(-fsanitize=float-cast-overflow)
  endif()
endif()
