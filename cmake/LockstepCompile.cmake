# One place for compiler flags; every target of ours calls lk_compile().
# Results must not depend on the machine or on contraction, so fp-contract is off and fast-math
# never used; -march stays at the baseline and vector code is chosen at run time.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)

function(lk_compile target)
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR})
  target_compile_definitions(${target} PRIVATE _GNU_SOURCE)
  target_compile_options(${target} PRIVATE
    -Wall -Wextra -Wconversion -Wshadow 
    $<$<COMPILE_LANGUAGE:C>:-Wstrict-prototypes> $<$<COMPILE_LANGUAGE:C>:-Wmissing-prototypes>
    -Wpointer-arith -ffp-contract=off -fno-math-errno)
  if(LK_WERROR)
    target_compile_options(${target} PRIVATE -Werror)
  endif()
  if(LK_SANITIZE)
    target_compile_options(${target} PRIVATE -fsanitize=${LK_SANITIZE} -fno-omit-frame-pointer
      -fno-sanitize-recover=all -g)
    target_link_options(${target} PUBLIC -fsanitize=${LK_SANITIZE})
  endif()
  if(LK_FUZZ)
    target_compile_options(${target} PRIVATE -fsanitize=fuzzer-no-link -g)
  endif()
  target_link_libraries(${target} PUBLIC m Threads::Threads)
endfunction()

# lk_library(name DEPS other... SOURCES file...)
function(lk_library name)
  cmake_parse_arguments(ARG "" "" "DEPS;SOURCES" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  lk_compile(${name})
  target_link_libraries(${name} PUBLIC ${ARG_DEPS})
endfunction()
